"""What a history in partitions would cost and save: `python -m engine.bench.partitions`. It has none, and docs/scaling.md says why with these figures.

The same workloads run in turns on the history as it is and on one that is cut by ranges of tasks; each rate is set against the floor of its own run.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, LiteralString

from psycopg import Connection, sql

from engine import tasks
from engine.bench import flows
from engine.bench.document import publish, say
from engine.bench.floors import steps_per_second
from engine.bench.past import end_all
from engine.bench.place import BULK_SECONDS, throwaway_database
from engine.bench.sizes import FULL
from engine.bench.workloads import measure_runner
from engine.db import Database, connect
from engine.requests import TaskRequest
from engine.settings import Settings

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
PARTITIONS = int(os.environ.get("BENCH_PARTITIONS", "20"))
WIDTH = 100_000 // PARTITIONS
SIZES = replace(FULL, floor_steps=50_000, hops=1, submits=1)
TASKS, BATCH, BATCHES = 20_000, 200, 20
READS, INSERTS = 200, 1_000
WORKLOADS = ("W1", "W2", "W3")


def main() -> None:
    """Prints what was measured."""
    publish(_measured)


def _measured() -> dict[str, Any]:
    with ExitStack() as stack:
        urls = {name: stack.enter_context(throwaway_database(replace(Settings.from_environ(), database_url=None))) for name in ("as it is", "in partitions")}
        cut(urls["in partitions"])
        inserts = _compared_inserts(urls)
        say(f"{PARTITIONS} partitions of {WIDTH:,} tasks; {ROUNDS} runs each in turns; steps/s as ratios to F2 of the same run")
        ratios: dict[tuple[str, str], list[float]] = {(name, workload): [] for name in urls for workload in WORKLOADS}
        for _ in range(ROUNDS):
            for name, url in urls.items():
                for workload, ratio in _ratios(url).items():
                    ratios[name, workload].append(ratio)
        for workload in WORKLOADS if ROUNDS else ():
            before, after = ratios["as it is", workload], ratios["in partitions", workload]
            say(f"{workload}: {_told(before)} as it is, {_told(after)} in partitions, {statistics.median(after) / statistics.median(before) - 1:+.1%}")
        rest = {name: _rest(name, url) for name, url in urls.items()}
    to_f2 = {workload: {name: ratios[name, workload] for name in urls} for workload in WORKLOADS}
    return {"partitions": PARTITIONS, "rounds": ROUNDS, "to_f2": to_f2, "report_of_300_ms": inserts, "rest_ms": rest}


def cut(url: str) -> None:
    """The empty history of a fresh database is one by ranges of tasks."""
    with connect(url) as connection:
        connection.execute("alter table tasker_history rename to tasker_history_whole")
        connection.execute("create table tasker_history (like tasker_history_whole including defaults including identity) partition by range (task_no)")
        connection.execute("drop table tasker_history_whole")
        connection.execute("create index on tasker_history (task_no)")
        connection.execute("create index on tasker_history (event_id)")
        connection.execute("create index on tasker_history using brin (xid) with (pages_per_range = 16, autosummarize = on)")
        connection.execute("create table tasker_history_rest partition of tasker_history default")
        for number in range(PARTITIONS):
            name, begin, end = sql.Identifier(f"tasker_history_{number}"), sql.Literal(number * WIDTH), sql.Literal((number + 1) * WIDTH)
            connection.execute(sql.SQL("create table {} partition of tasker_history for values from ({}) to ({})").format(name, begin, end))


def _compared_inserts(urls: dict[str, str]) -> dict[str, float]:
    """What a report of 300 steps adds to the history, to either in turns: a busy machine changes both alike."""
    with ExitStack() as stack:
        connections = {name: stack.enter_context(connect(url, call_seconds=BULK_SECONDS)) for name, url in urls.items()}
        found: dict[str, list[float]] = {name: [] for name in urls}
        for number in range(INSERTS):
            for name, connection in connections.items():
                found[name].append(_median(1, lambda _, connection=connection, number=number: _insert(connection, number)))  # type: ignore[misc]
        before, after = (statistics.median(times) for times in found.values())
    say(f"600 moves of 300 steps: {before:.2f} ms as it is, {after:.2f} ms in partitions, {(after - before) / 300 * 1000:+.1f} us a step")
    return dict(zip(found, (before, after), strict=True))


def _insert(connection: Connection[Any], number: int) -> None:
    connection.execute(
        """
        insert into tasker_history (task_no, step_no, at, from_state, to_state, attempt, worker_id)
        select n.task_no, m.step_no, clock_timestamp(), 2, 4, 1, 1 from generate_series(%(first)s, %(first)s + 299) n (task_no), (values (0), (1)) m (step_no)
        """,
        {"first": number * 30 % 90_000},
        prepare=True,
    )


def _ratios(url: str) -> dict[str, float]:
    before = steps_per_second(url, SIZES.floor_steps, 3)
    found = measure_runner(url, "processes", SIZES, 3)
    floor = (before + steps_per_second(url, SIZES.floor_steps, 3)) / 2
    return {workload: found[workload] / floor for workload in WORKLOADS}


def _told(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


def _rest(name: str, url: str) -> dict[str, float]:
    """One read of events by number, and a batch of old tasks: all of it, and the part that is history, which a partition would let go as a whole."""
    db = Database(url, max_size=2, call_seconds=BULK_SECONDS)
    try:
        definition = tasks.register_definition(db, flows.w1.definition)
        tasks.submit_many(db, [TaskRequest("chain_of_5", flows.NAMESPACE)] * TASKS)
        end_all(url, definition, "interval '2 days'")
        with connect(url, call_seconds=BULK_SECONDS) as connection:
            [(last,)] = connection.execute("select max(event_id) from tasker_history").fetchall()
            read = _median(READS, lambda number: _read(connection, last - 500 * number))
            oldest = [no for (no,) in connection.execute("select task_no from tasker_task order by 1 limit %s", [2 * BATCH * BATCHES]).fetchall()]
            whole = _median(BATCHES, lambda number: _forget(connection, oldest[number * BATCH : (number + 1) * BATCH]))
            rest = oldest[BATCH * BATCHES :]
            history = _median(BATCHES, lambda number: _forget_history(connection, rest[number * BATCH : (number + 1) * BATCH]))
        say(f"{name}: 500 moves by number {read:.2f} ms; {BATCH} old tasks of 5 steps dropped in {whole:.1f} ms, their history alone in {history:.1f} ms")
        return {"read_500_moves": read, "drop_200_tasks": whole, "drop_their_history": history}
    finally:
        db.close()


def _read(connection: Connection[Any], after: int) -> None:
    query: LiteralString = "select event_id, task_no from tasker_history where event_id > %s order by event_id limit 500"
    connection.execute(query, [after], prepare=True).fetchall()


def _forget(connection: Connection[Any], task_nos: list[int]) -> None:
    connection.execute("select * from tasker_forget_tasks(%s)", [task_nos]).fetchall()


def _forget_history(connection: Connection[Any], task_nos: list[int]) -> None:
    connection.execute("delete from tasker_history h where h.task_no = any(%s)", [task_nos])


def _median(times: int, work: Callable[[int], None]) -> float:
    """Milliseconds."""
    found = []
    for number in range(times):
        begin = time.perf_counter()
        work(number)
        found.append((time.perf_counter() - begin) * 1000)
    return statistics.median(found)


if __name__ == "__main__":
    main()
