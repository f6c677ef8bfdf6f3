"""What one step costs: processor time of database and engine, write-ahead log, disk, round trips, at several loads: `python -m engine.bench.cost`.

The first row is an engine that has nothing to do; the others are without what that one costs. The last one is an engine that always has work.
Bytes and round trips are much the same on every machine; seconds are of this one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

from engine import tasks
from engine.bench import flows
from engine.bench.place import bulk_database
from engine.bench.processor import parent, tree_seconds
from engine.db import Database
from engine.requests import TaskRequest

LENGTH = 5
DEMO_STEPS_PER_SECOND = 28.0
"""What `tasker demo --once` runs: 128 steps in four and a half seconds."""
LOADS = (1, 10, 100)
SECONDS = float(os.environ.get("BENCH_SECONDS", "20"))
TICK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Spent:
    """Since the beginning: seconds of processor time, bytes of write-ahead log and of the database's files, round trips of the engine, steps ended."""

    at: float
    database: float
    engine: float
    wal: int
    disk: int
    calls: int
    steps: int


Run = tuple[Spent, Spent]
"""Before it and after it."""


def main() -> None:
    """Prints what was measured."""
    if not Path("/proc/self/stat").exists():
        sys.exit("engine.bench.cost reads processor times from /proc, which only Linux has")
    with bulk_database() as db:
        _measure(db)


def _measure(db: Database) -> None:
    print(f"chains of {LENGTH}, {SECONDS:g} s per load; per step: ms of processor time, bytes, round trips of the engine; % are of one core")
    print(f"{'load':>12} {'steps/s':>8} {'database':>9} {'engine':>8} {'WAL':>8} {'disk':>8} {'trips':>6} {'database %':>11} {'engine %':>9}")
    with _engine(db.url) as pid:
        _run(db, pid, 50.0, seconds=3.0)  # statements prepared, paces known
        idle = _run(db, pid, 0.0, seconds=SECONDS)
        _print("idle", idle, idle)
        for load in LOADS:
            _print(f"demo x {load}", _run(db, pid, load * DEMO_STEPS_PER_SECOND, seconds=SECONDS), idle)
        _print("all it can", _run(db, pid, None, seconds=SECONDS), idle)


def _run(db: Database, pid: int, rate: float | None, *, seconds: float) -> Run:
    """Tasks are made at that rate of steps, or as fast as they are worked off, and all of them end; before and after."""
    begun = _spent(db, pid)
    over = threading.Event()
    feeder = threading.Thread(target=_feed, args=(db, rate, over))
    feeder.start()
    time.sleep(seconds)
    over.set()
    feeder.join()
    while db.value("select exists (select from tasker_task where finished_at is null)"):
        time.sleep(0.02)
    ended = _spent(db, pid)
    return begun, ended


def _feed(db: Database, rate: float | None, over: threading.Event) -> None:
    begun, made = time.monotonic(), 0
    while not over.is_set():
        due = _missing(db) if rate is None else int((time.monotonic() - begun) * rate / LENGTH) - made
        if due > 0:
            tasks.submit_many(db, [TaskRequest("chain_of_5", flows.NAMESPACE)] * due)
            made += due
        over.wait(TICK_SECONDS)


def _missing(db: Database, most: int = 4_000) -> int:
    return most - int(db.value("select count(*) from (select from tasker_task where finished_at is null limit 4000) t"))


# ---- what was spent


def _spent(db: Database, engine: int) -> Spent:
    _wait_for_heartbeat(db)
    server = int(db.value("select pg_backend_pid()"))
    wal = int(db.value("select pg_current_wal_insert_lsn() - '0/0'"))
    steps = int(db.value("select count(*) from tasker_history where step_no is not null and to_state = 4"))
    disk = int(db.value("select pg_database_size(current_database())"))
    return Spent(time.monotonic(), tree_seconds(parent(server)), tree_seconds(engine), wal, disk, _calls(db), steps)


def _wait_for_heartbeat(db: Database) -> None:
    """With it the engine writes down its round trips."""
    now = db.value("select tasker_clock()")
    while not db.value("select exists (select from tasker_worker where seen_at > %(now)s)", {"now": now}):
        time.sleep(0.05)


def _calls(db: Database) -> int:
    query: LiteralString = """
        select coalesce(sum(b.number::int), 0)::int from tasker_worker w
         cross join lateral jsonb_array_elements_text(w.figures -> 'calls' -> 'complete_and_claim' -> 'bins') as b (number)
    """
    return int(db.value(query))


def _print(name: str, run: Run, idle: Run) -> None:
    begun, ended = run
    seconds, steps = ended.at - begun.at, ended.steps - begun.steps
    busy = {field: _in_a_second(run, field) for field in ("database", "engine", "wal", "disk", "calls")}
    each = {field: (value - _in_a_second(idle, field)) * seconds / steps if steps else 0.0 for field, value in busy.items()}
    print(
        f"{name:>12} {steps / seconds:>8,.0f} {each['database'] * 1000:>9.3f} {each['engine'] * 1000:>8.3f} {each['wal']:>8,.0f} {each['disk']:>8,.0f} {each['calls']:>6.3f}"
        f" {busy['database'] * 100:>11.1f} {busy['engine'] * 100:>9.1f}",
        flush=True,
    )


def _in_a_second(run: Run, field: str) -> float:
    begun, ended = run
    return float(getattr(ended, field) - getattr(begun, field)) / (ended.at - begun.at)


@contextmanager
def _engine(url: str) -> Iterator[int]:
    environment = {**os.environ, "TASKER_DATABASE_URL": url, "TASKER_ENV": "production"}
    command = [sys.executable, "-m", "engine.cli", "engine", "--handlers", "engine.bench.flows"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
