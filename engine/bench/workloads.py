"""What a whole engine does: throughput of chains, diamonds and fans, and the latency of one hop and of one submission."""

from __future__ import annotations

import itertools
import os
import statistics
import time
from contextlib import suppress
from typing import Any

import psycopg

from engine import rollups, tasks
from engine.bench import flows
from engine.bench.floors import REST_SECONDS
from engine.bench.place import BULK_SECONDS
from engine.bench.sizes import Sizes
from engine.db import Database
from engine.errors import TaskerError
from engine.finding import words
from engine.registry import HandlerRegistry
from engine.requests import TaskRequest
from engine.scheduler import Engine

LIMIT_SECONDS = 120.0
SOURCE = "engine.bench.flows"
PAUSE_SECONDS = 0.003
"""In which a claim is under way and nobody asks for anything; processors that have nothing to do for so long begin to fall asleep."""
LOOK_SECONDS, AWAKE_LOOK_SECONDS = 0.005, 0.001
"""Between two looks whether a task is over, which end what rest there is."""


def measure_runner(url: str, runner: str, sizes: Sizes, rounds: int) -> dict[str, Any]:
    """W1, W2 and W3 in steps per second; hop, and submit to claimed right after the last, a little later and after a rest, as (p50, p99) in milliseconds.

    The engine starts outside the clock.
    """
    db = Database(url, max_size=2, call_seconds=BULK_SECONDS)
    engine = Engine(url, _registry(), runner="threads" if runner == "threads" else "processes", sources=[SOURCE])
    engine.start()
    try:
        return _measured(db, sizes, rounds)
    finally:
        engine.drain()
        db.close()


def _registry() -> HandlerRegistry:
    registry = HandlerRegistry()
    for flow in (flows.w1, flows.w2, flows.w3, flows.w4, flows.single):
        registry.register(flow)
    return registry


def _measured(db: Database, sizes: Sizes, rounds: int) -> dict[str, Any]:
    shapes = {"W1": ("chain_of_5", sizes.w1), "W2": ("diamond_of_4", sizes.w2), "W3": ("fan_of_1000", sizes.w3)}
    for name, count in shapes.values():
        throughput(db, name, max(1, count // 10))  # handlers loaded, statements prepared, paces known
    rates: dict[str, list[float]] = {key: [] for key in shapes}
    for _ in range(rounds):
        for key, (name, count) in shapes.items():
            rates[key].append(throughput(db, name, count))
    let_rest(db)
    found: dict[str, Any] = {key: statistics.median(values) for key, values in rates.items()}
    hops = {"hop": _quantiles(_hops(db, sizes.hops))}
    submits = {
        "awake": _submits(db, sizes.submits, rest=0, pause=0, look=AWAKE_LOOK_SECONDS),
        "submit": _submits(db, sizes.submits, rest=PAUSE_SECONDS),
        "rested": _submits(db, sizes.submits, rest=REST_SECONDS),
    }
    return found | hops | {name: _quantiles(waits) for name, waits in submits.items()}


def let_rest(db: Database) -> None:
    """What the load has left to be counted, indexed, cleared away and written is, so that the system is idle."""
    rollups.catch_up(db)
    while words.index_words(db):
        pass
    with db.connection() as connection:
        connection.execute("vacuum analyze")
        with suppress(psycopg.errors.InsufficientPrivilege):  # on somebody's own server
            connection.execute("checkpoint")
    os.sync()


def throughput(db: Database, name: str, count: int) -> float:
    """Steps per second from the first claim to the last completion, by the history."""
    newest = db.value("select coalesce(max(task_no), 0) from tasker_task")
    tasks.submit_many(db, [TaskRequest(name, flows.NAMESPACE)] * count)
    until_done(db, newest)
    row = db.rows(
        """
        select count(*) filter (where to_state = 4 and step_no is not null), extract(epoch from max(at) - min(at))::float8
          from tasker_history where task_no > %(newest)s
        """,
        {"newest": newest},
    )[0]
    return float(row[0] / row[1])


def _hops(db: Database, count: int) -> list[float]:
    """Milliseconds from the start of a step to the start of the next, in chains that run alone."""
    hops: list[float] = []
    for _ in range(count + 1):
        newest = db.value("select coalesce(max(task_no), 0) from tasker_task")
        tasks.submit(db, TaskRequest("chain_of_20", flows.NAMESPACE))
        until_done(db, newest)
        started = [row[0] for row in db.rows("select started_at from tasker_step where task_no > %(newest)s order by step_no", {"newest": newest})]
        hops = hops + [(later - earlier).total_seconds() * 1000 for earlier, later in itertools.pairwise(started)]
    return hops[19:]


def _submits(db: Database, count: int, *, rest: float, pause: float = PAUSE_SECONDS, look: float = LOOK_SECONDS) -> list[float]:
    """Milliseconds from the call of submit to the claim by an engine with nothing to do, the commit of the submission included; so long after the last was done."""
    waits = []
    for _ in range(count):
        newest = db.value("select coalesce(max(task_no), 0) from tasker_task")
        time.sleep(rest)
        begin = time.time()
        tasks.submit(db, TaskRequest("single", flows.NAMESPACE))
        time.sleep(pause)
        until_done(db, newest, look)
        waits.append((db.value("select extract(epoch from max(started_at))::float8 from tasker_step where task_no > %(newest)s", {"newest": newest}) - begin) * 1000)
    return waits


def until_done(db: Database, newest: int, look: float = LOOK_SECONDS) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while db.value("select exists (select from tasker_task where task_no > %(newest)s and finished_at is null)", {"newest": newest}):
        if time.monotonic() > deadline:
            raise TaskerError(f"the bench's tasks did not end within {LIMIT_SECONDS:.0f} s")
        time.sleep(look)


def _quantiles(values: list[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return statistics.median(ordered), ordered[int(0.99 * (len(ordered) - 1))]
