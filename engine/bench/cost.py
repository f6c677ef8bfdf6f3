"""What one step costs: processor time of database and engine, write-ahead log, disk, round trips, at several loads: `python -m engine.bench.cost`.

The first load is an engine that has nothing to do; the others are without what that one costs. The last one is an engine that always has work. All of it is of a time in which
tasks keep coming: what is worked off before and after would thin out the shares. Beside each load stands what `engine.bench.model` says of it, fitted to the first and the last.
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
from datetime import datetime
from pathlib import Path
from typing import Any, LiteralString

from engine import tasks
from engine.bench import flows
from engine.bench.document import publish, say
from engine.bench.model import Load, fitted
from engine.bench.place import bulk_database
from engine.bench.processor import parent, tree_seconds
from engine.db import Database
from engine.requests import TaskRequest

LENGTH = 5
DEMO_STEPS_PER_SECOND = 28.0
"""What `tasker demo --once` runs: 128 steps in four and a half seconds."""
LOADS: dict[str, float | None] = {**{f"demo x {times}": times * DEMO_STEPS_PER_SECOND for times in (1, 10, 100)}, "all it can": None}
"""Steps per second that are asked for; None is as many as are worked off."""
SECONDS = float(os.environ.get("BENCH_SECONDS", "20"))
FIRST_SECONDS = 2.0
"""In which a load settles; not measured."""
TICK_SECONDS = 0.1
MOST_OPEN = 4_000
COMPARED = (("round_trips", "trips", ".3f"), ("database_ms", "database ms", ".3f"), ("wal_bytes", "WAL", ",.0f"), ("database", "database's cores", ".2f"))
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Spent:
    """Since the beginning: seconds of processor time, bytes of write-ahead log and of the database's files, round trips of the engine; and when, by the database's clock."""

    at: datetime
    database: float
    engine: float
    wal: int
    disk: int
    calls: int


def main() -> None:
    """Prints what was measured."""
    if not Path("/proc/self/stat").exists():
        sys.exit("engine.bench.cost reads processor times from /proc, which only Linux has")
    publish(_measured)


def _measured() -> Row:
    say(f"chains of {LENGTH}, {SECONDS:g} s per load; per step: ms of processor time, bytes, round trips of the engine; % are of one core")
    say(f"{'load':>12} {'steps/s':>8} {'database':>9} {'engine':>8} {'WAL':>8} {'disk':>8} {'trips':>6} {'database %':>11} {'engine %':>9}")
    with bulk_database() as db, _engine(db.url) as pid:
        tasks.register_definition(db, flows.w1.definition)  # the engine may not have come so far
        _load(db, pid, 50.0, seconds=3.0)  # statements prepared, paces known
        rest = _load(db, pid, 0.0, seconds=SECONDS)
        _say_row("at rest", rest)
        rows = []
        for name, rate in LOADS.items():
            rows.append({"load": name, "wanted_steps_per_s": rate} | _beside(_load(db, pid, rate, seconds=SECONDS), rest))
            _say_row(name, rows[-1])
        server = db.value("select current_setting('server_version')")
    return {"postgresql": server, "length": LENGTH, "seconds": SECONDS, "rest": rest, "loads": rows, "model": _predicted(rows, rest)}


# ---- one load


def _load(db: Database, pid: int, rate: float | None, *, seconds: float) -> Row:
    """What a second of it takes, while tasks are made at that rate of steps, or as fast as they are worked off. In the end all of them have ended."""
    over = threading.Event()
    feeder = threading.Thread(target=_feed, args=(db, rate, over))
    feeder.start()
    time.sleep(FIRST_SECONDS)
    begun = _spent(db, pid)
    time.sleep(seconds)
    ended = _spent(db, pid)
    over.set()
    feeder.join()
    while db.value("select exists (select from tasker_task where finished_at is null)"):
        time.sleep(0.02)
    return _in_a_second(begun, ended) | {"steps_per_s": _steps(db, begun, ended) / (ended.at - begun.at).total_seconds()}


def _feed(db: Database, rate: float | None, over: threading.Event) -> None:
    begun, made = time.monotonic(), 0
    while not over.is_set():
        due = _missing(db) if rate is None else int((time.monotonic() - begun) * rate / LENGTH) - made
        if due > 0:
            tasks.submit_many(db, [TaskRequest("chain_of_5", flows.NAMESPACE)] * due)
            made += due
        over.wait(TICK_SECONDS)


def _missing(db: Database) -> int:
    return MOST_OPEN - int(db.value("select count(*) from (select from tasker_task where finished_at is null limit %(most)s) t", {"most": MOST_OPEN}))


def _in_a_second(begun: Spent, ended: Spent) -> Row:
    seconds = (ended.at - begun.at).total_seconds()
    return {field: (getattr(ended, field) - getattr(begun, field)) / seconds for field in ("database", "engine", "wal", "disk", "calls")}


def _steps(db: Database, begun: Spent, ended: Spent) -> int:
    """How many ended meanwhile; asked when nothing is measured any more, for it reads much."""
    query: LiteralString = "select count(*) from tasker_history where step_no is not null and to_state = 4 and at > %(begun)s and at <= %(ended)s"
    return int(db.value(query, {"begun": begun.at, "ended": ended.at}))


def _beside(row: Row, rest: Row) -> Row:
    """With what one step costs, rest taken off."""
    each = {field: (row[field] - rest[field]) / row["steps_per_s"] if row["steps_per_s"] else 0.0 for field in ("database", "engine", "wal", "disk", "calls")}
    per_step = {"database_ms": each["database"] * 1000, "engine_ms": each["engine"] * 1000, "wal_bytes": each["wal"], "disk_bytes": each["disk"]}
    return row | per_step | {"round_trips": each["calls"]}


# ---- what was spent


def _spent(db: Database, engine: int) -> Spent:
    _wait_for_heartbeat(db)
    at, server, wal, disk = db.rows("select tasker_clock(), pg_backend_pid(), (pg_current_wal_insert_lsn() - '0/0')::bigint, pg_database_size(current_database())")[0]
    return Spent(at, tree_seconds(parent(server)), tree_seconds(engine), wal, disk, _calls(db))


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


# ---- what is said


def _say_row(name: str, row: Row) -> None:
    each = [f"{row.get(field, 0.0):{shape}}" for field, shape in (("database_ms", ">9.3f"), ("engine_ms", ">8.3f"), ("wal_bytes", ">8,.0f"), ("disk_bytes", ">8,.0f"), ("round_trips", ">6.3f"))]
    say(f"{name:>12} {row['steps_per_s']:>8,.0f} {' '.join(each)} {row['database'] * 100:>11.1f} {row['engine'] * 100:>9.1f}")


def _predicted(rows: list[Row], rest: Row) -> Row:
    """What the model says of each load, fitted to the loneliest and to the one without limit."""
    costs = fitted(rows[0], rows[-1], rest["database"])
    say(f"\nmodel: {costs.step_ms:.3f} ms a step and {costs.trip_ms:.2f} ms a round trip; one core of the database carries {costs.carried(LENGTH):,.0f} steps/s; predicted / measured:")
    told = []
    for row in rows:
        load = Load(row["wanted_steps_per_s"], LENGTH, TICK_SECONDS)
        told.append({"load": row["load"], "round_trips": load.round_trips, "database_ms": costs.database_ms(load), "wal_bytes": costs.wal_bytes, "database": costs.cores(load)})
        say(f"{row['load']:>12}  " + ", ".join(f"{word} {told[-1][field]:{shape}} / {row[field]:{shape}}" for field, word, shape in COMPARED))
    return {"step_ms": costs.step_ms, "trip_ms": costs.trip_ms, "carried_steps_per_s": costs.carried(LENGTH), "loads": told}


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
