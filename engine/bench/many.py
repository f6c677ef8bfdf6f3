"""Several engines on one database: `python -m engine.bench.many`, apart from `tasker bench` because it starts processes and queues a million steps.

First the same work by one engine and by four, in turns; then a flood in one namespace, beside which another namespace launches a task every half second.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from engine import tasks
from engine.bench import flows
from engine.bench.document import publish, say
from engine.bench.place import bulk_database
from engine.db import Database
from engine.errors import TaskerError
from engine.handlers import Workflow
from engine.requests import TaskRequest

CHAINS = int(os.environ.get("BENCH_CHAINS", "3000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
ENGINES = 4
FLOOD = int(os.environ.get("BENCH_FLOOD", "1000000"))
LAUNCHES = int(os.environ.get("BENCH_LAUNCHES", "40"))
GOALS = {"ratio": 0.6, "unfair": 0.10, "slowest_ms": 1_000.0}
"""All engines to one; by what part of its even share an engine may do more or less; the slowest start of a task beside a flood."""
PATIENCE_SECONDS = 600.0
QUIET = "quiet"

small = Workflow("small", namespace=QUIET, version="1.0.0")
small.define("only", handler_class=flows.NoOp)


def main() -> None:
    """Prints what was measured; `BENCH_CHAINS=300 BENCH_FLOOD=20000 BENCH_LAUNCHES=5` in the environment makes it a first look."""
    publish(_measured)


def _measured() -> dict[str, Any]:
    with bulk_database() as db:
        return {"chains": CHAINS, "goals": GOALS, "engines": _engines(db), "flood": _flood(db, FLOOD)}


def _engines(db: Database) -> dict[str, Any]:
    rates: dict[int, list[float]] = {1: [], ENGINES: []}
    parts: list[list[float]] = []
    for number in range(ROUNDS):
        for count in rates if number % 2 else reversed(rates):
            with _running(db, count):
                _work(db, CHAINS // 10)
                rate, shares = _work(db, CHAINS)
            rates[count].append(rate)
            parts += [shares + [0.0] * (ENGINES - len(shares))] if count == ENGINES else []
            say(f"{count} engines: {rate:,.0f} steps/s; shares {', '.join(f'{share:.3f}' for share in shares)}")
    one, many = (statistics.median(rates[count]) for count in rates)
    found = {"ratio": many / one, "unfair": max(abs(share * ENGINES - 1) for shares in parts for share in shares)}
    say(f"{ENGINES} engines to 1: {found['ratio']:.2f}, {_verdict(found['ratio'] >= GOALS['ratio'])} {GOALS['ratio']}")
    say(f"the share furthest from even: {found['unfair']:.0%} off, {_verdict(found['unfair'] <= GOALS['unfair'])} {GOALS['unfair']:.0%}")
    return {"count": ENGINES, "one": rates[1], "many": rates[ENGINES], "shares": parts} | found


def _work(db: Database, chains: int) -> tuple[float, list[float]]:
    """Steps per second, and the share of each engine in them."""
    newest = db.value("select coalesce(max(task_no), 0) from tasker_task")
    tasks.submit_many(db, [TaskRequest("chain_of_5", flows.NAMESPACE)] * chains)
    _until(db, "select not exists (select from tasker_task where task_no > %(newest)s and finished_at is null)", newest)
    found = db.rows(
        """select count(*), extract(epoch from max(max(at)) over () - min(min(at)) over ())::float8
             from tasker_history where task_no > %(newest)s and to_state = 4 and step_no is not null group by worker_id order by 1""",
        {"newest": newest},
    )
    return chains * 5 / found[0][1], [row[0] / (chains * 5) for row in found]


def _flood(db: Database, flood: int) -> dict[str, Any]:
    tasks.register_definition(db, flows.single.definition)
    tasks.register_definition(db, small.definition)
    alone = _launches(db, waiting=0)
    for first in range(0, flood, 20_000):
        tasks.submit_many(db, [TaskRequest("single", flows.NAMESPACE)] * min(20_000, flood - first))
    beside = _launches(db, waiting=flood // 2)
    left = db.value("select count(*) from tasker_ready")
    say(f"launch to start beside nothing, ms: {_told(alone)}\nbeside {flood:,} ready steps ({left:,} left at the end), ms: {_told(beside)}")
    say(f"the slowest: {_verdict(beside[-1] <= GOALS['slowest_ms'])} {GOALS['slowest_ms']:,.0f} ms")
    return {"steps": flood, "left": left, "alone_ms": alone, "beside_ms": beside}


def _launches(db: Database, *, waiting: int) -> list[float]:
    with _running(db, 1):
        if waiting:
            time.sleep(5)  # the engine is at it
        for _ in range(LAUNCHES):
            tasks.submit(db, TaskRequest("small", QUIET))
            time.sleep(0.5)
        _until(db, "select not exists (select from tasker_task t join tasker_definition d using (definition_id) where d.namespace = 'quiet' and t.finished_at is null)", 0)
    rows = db.rows(
        """select extract(epoch from t.started_at - t.created_at)::float8 * 1000 from tasker_task t join tasker_definition d using (definition_id)
            where d.namespace = 'quiet' order by t.task_no desc limit %(count)s""",
        {"count": LAUNCHES},
    )
    return sorted(float(row[0]) for row in rows)


@contextmanager
def _running(db: Database, count: int) -> Iterator[None]:
    """So many engines for the length of the block, each a process of its own."""
    before = db.value("select coalesce(max(worker_id), 0) from tasker_worker")
    command = [sys.executable, "-m", "engine.cli", "engine", "--runner", "threads", "--handlers", "engine.bench.flows,engine.bench.many"]
    engines = [subprocess.Popen(command, env={**os.environ, "TASKER_DATABASE_URL": db.url}, stderr=subprocess.DEVNULL) for _ in range(count)]
    try:
        _until(db, f"select count(*) = {count} from tasker_worker where worker_id > %(newest)s and lease_until > tasker_clock()", before)
        yield
    finally:
        for engine in engines:
            engine.send_signal(signal.SIGTERM)
        for engine in engines:
            engine.wait(60)


def _until(db: Database, question: str, newest: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not db.value(question, {"newest": newest}):
        if time.monotonic() > deadline:
            raise TaskerError(f"waited {PATIENCE_SECONDS:.0f} s: {question}")
        time.sleep(0.02)


def _verdict(met: bool) -> str:
    return "within the goal of" if met else "MISSES the goal of"


def _told(times: list[float]) -> str:
    return f"p50 {statistics.median(times):,.1f}, the slowest {times[-1]:,.1f} of {len(times)}"


if __name__ == "__main__":
    main()
