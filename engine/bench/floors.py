"""What the machine allows at all: the bare writes that any durable engine must make, without any engine."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from engine.bench.place import BULK_SECONDS
from engine.db import connect
from engine.leases import literal

BATCH = 500
CONNECTIONS = 2
REST_SECONDS = 0.02
_RESULTS = "[" + ",".join(['{"ok": 1}'] * BATCH) + "]"


@dataclass(frozen=True, slots=True)
class Floors:
    """F2 in steps per second: insert of a step and update with its result, in batches of 500 on two connections. C1 in milliseconds: one insert and its commit.

    N1 in milliseconds: the same after a rest, and that another session hears of it.
    """

    f2: float
    c1: float
    n1: float


def steps_per_second(url: str, steps: int, rounds: int) -> float:
    """F2, the median of the rounds."""
    with connect(url, call_seconds=BULK_SECONDS) as connection:
        return statistics.median(_steps_per_second(url, connection, steps) for _ in range(rounds))


def commit_seconds(url: str, commits: int) -> float:
    """C1, the median of so many commits on an idle connection."""
    with connect(url, call_seconds=BULK_SECONDS) as connection:
        connection.execute("create table if not exists bench_commit (number int)")
        return statistics.median(_timed(lambda: connection.execute("insert into bench_commit values (1)", prepare=True)) for _ in range(commits))


def heard_seconds(url: str, times: int) -> float:
    """N1, the median: after `REST_SECONDS` in which nobody does anything, one insert, its commit, and the notification that another session waits for."""
    with connect(url, call_seconds=BULK_SECONDS) as writer, connect(url, call_seconds=BULK_SECONDS) as listener:
        writer.execute("create table if not exists bench_commit (number int)")
        listener.execute("listen bench_heard")
        return statistics.median(_rested(lambda: _tell(writer, listener)) for _ in range(times))


def _tell(writer: Connection[Any], listener: Connection[Any]) -> None:
    writer.execute("insert into bench_commit values (1)", prepare=True)
    writer.execute("select pg_notify('bench_heard', '')", prepare=True)
    for _ in listener.notifies(timeout=BULK_SECONDS, stop_after=1):
        pass


def _rested(work: Callable[[], object]) -> float:
    time.sleep(REST_SECONDS)
    return _timed(work)


def _steps_per_second(url: str, connection: Connection[Any], steps: int) -> float:
    connection.execute("drop table if exists bench_floor")
    connection.execute("""
        create table bench_floor (task_no bigint, step_no int, pending int, state smallint, finished_at timestamptz, result jsonb,
                                  primary key (task_no, step_no)) with (fillfactor = 70)
    """)
    batches = [range(first, first + BATCH) for first in range(0, steps, BATCH)]
    inserting = _seconds_on_all(url, batches, _insert)
    connection.execute("analyze bench_floor")
    return steps / (inserting + _seconds_on_all(url, batches, _update))


def _insert(connection: Connection[Any], batch: range) -> None:
    connection.execute(
        "insert into bench_floor (task_no, step_no, pending, state) select n / 5, n %% 5, 0, 1 from unnest(%s::bigint[]) n", (literal(batch),), prepare=True
    )


def _update(connection: Connection[Any], batch: range) -> None:
    connection.execute(
        """
        update bench_floor s set state = 4, finished_at = now(), result = d.result
          from rows from (unnest(%s::bigint[]), jsonb_array_elements(%s::jsonb)) as d (n, result)
         where s.task_no = d.n / 5 and s.step_no = d.n %% 5
        """,
        (literal(batch), _RESULTS),
        prepare=True,
    )


def _seconds_on_all(url: str, batches: list[range], write: Callable[[Connection[Any], range], None]) -> float:
    connections = [connect(url, call_seconds=BULK_SECONDS) for _ in range(CONNECTIONS)]

    def share(number: int) -> None:
        for batch in batches[number::CONNECTIONS]:
            write(connections[number], batch)

    threads = [threading.Thread(target=share, args=(number,)) for number in range(CONNECTIONS)]
    seconds = _timed(lambda: _all(threads))
    for connection in connections:
        connection.close()
    return seconds


def _all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
