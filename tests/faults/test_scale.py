"""A long past and a long queue, statistics that are wrong, and a snapshot that somebody keeps: claims stay quick and in order.

FAULTS_SCALE takes a part of the usual size, FAULTS_SNAPSHOT_MINUTES another time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from statistics import mean
from typing import Any

import psycopg
import pytest
from arena import Arena
from figures import quantiles

from engine import TaskRequest, Workflow, leases, tasks
from engine.bench.past import end_all
from engine.db import Database, connect
from engine.registry import HandlerRegistry

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1800)]

SCALE = float(os.environ.get("FAULTS_SCALE") or 1)
SNAPSHOT_MINUTES = float(os.environ.get("FAULTS_SNAPSHOT_MINUTES") or 10)
PAST_TASKS, LENGTH, BACKLOG, SHORT = int(100_000 * SCALE), 10, int(100_000 * SCALE), 1_000
BATCH, ROUNDS = 20, 40
CLAIMS = max(ROUNDS, int(400 * SCALE))
ROWS_PER_STEP = 10
STEPS_A_SECOND = 50
SHARE_WITH_BACKLOG, SHARE_WITH_SNAPSHOT = 0.8, 0.5
CLAIM_SECONDS, SLOWER = 0.020, 2
"""Of a claim and report, all but one of a hundred; how much longer it may take where others use the machine as well."""
LOADED = 0.9
"""What of a share a machine that others use as well may take away; the figures are printed."""
READ = """
select coalesce(sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)), 0)::bigint from pg_stat_xact_user_tables
 where relname in ('tasker_ready', 'tasker_step', 'tasker_task')"""


@pytest.fixture
def arena(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Arena]:
    monkeypatch.setattr(HandlerRegistry, "_instance", HandlerRegistry())
    installation = Arena(tmp_path, seed=23, options={"shared_buffers": "512MB", "max_connections": "60"})
    yield installation
    installation.end()


class Claimer:
    """One engine's session that claims and reports by itself, and what each call took."""

    def __init__(self, arena: Arena, definition: int) -> None:
        self.connection = connect(arena.server.url, options=leases.SESSION, call_seconds=60)
        self.definition, self.number, self.held = definition, 0, []
        self.who = leases.register_worker(self.connection, name="scale", runner="none", concurrency=BATCH, definitions=[definition], lease=timedelta(hours=1))
        leases.lock_worker(self.connection, self.who.worker_id)  # an engine would take it for dead

    def turn(self) -> list[tuple[Any, ...]]:
        """What it held is reported, and the next batch claimed."""
        self.number += 1
        done = [(*held, '"done"') for held in sorted(self.held)]
        rows = leases.complete_and_claim(self.connection, self.who, claim_no=self.number, done=done, want=BATCH, definitions=f"{{{self.definition}}}")
        self.held = [(row[0], row[1], row[3]) for row in rows]
        return rows

    def times(self, rounds: int = ROUNDS) -> list[float]:
        return [timed(self.turn) for _ in range(rounds)]

    def rows_read(self) -> int:
        """How many rows of the large tables one turn reads."""
        with self.connection.transaction():
            before = self.connection.execute(READ.encode()).fetchone()
            self.turn()
            after = self.connection.execute(READ.encode()).fetchone()
        assert before is not None
        assert after is not None
        return int(after[0] - before[0])


def timed(act: Callable[[], object]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


def workflow(name: str, length: int) -> Workflow:
    flow = Workflow(name, namespace="scale", version="1.0.0")
    for number in range(length):
        flow.define(f"s{number}", depends_on_step=f"s{number - 1}" if number else None)
    return flow


# ---- F23


def test_a_long_past_and_a_long_queue_cost_a_claim_nothing_whatever_the_planner_believes(arena: Arena) -> None:
    db = Database(arena.server.url, call_seconds=600)
    past, queue = tasks.register_definition(db, workflow("past", LENGTH).definition), tasks.register_definition(db, workflow("queue", 1).definition)
    submit(db, "past", PAST_TASKS)
    end_all(db.url, past, "(t.task_no %% 43200) * interval '1 minute'")
    claimer = Claimer(arena, queue)
    submit(db, "queue", SHORT)
    few = claimer.times()
    submit(db, "queue", BACKLOG)
    urgent = tasks.submit(db, TaskRequest("queue", "scale", priority=10))
    measured = {"1,000 ready": few}
    for name, change in (("with statistics", "analyze"), ("without", "delete from pg_statistic"), ("wrong ones", "update pg_class set reltuples = 3, relpages = 1 where relname like 'tasker%'")):
        with arena.direct() as conn:
            conn.execute(change.encode())
        fresh = Claimer(arena, queue)
        first = fresh.turn()
        if name == "with statistics":
            number = db.value("select task_no from tasker_task where task_id = %(task)s", {"task": urgent})
            assert number in [row[0] for row in first], "the most urgent step was not claimed first"
        measured[f"{BACKLOG:,} ready, {name}"] = fresh.times(CLAIMS)
        read = fresh.rows_read()
        print(f"{name}: {read} rows read for {BATCH} steps")
        assert read <= ROWS_PER_STEP * 2 * BATCH, name  # as many are reported as claimed
    for name, times in measured.items():
        print(f"claim and report of {BATCH}, {name}, s: {quantiles(times)}")
        assert mean(few) / mean(times) > SHARE_WITH_BACKLOG * LOADED, name
        assert times is few or quantiles(times)["p99"] <= CLAIM_SECONDS * SLOWER, name
    assert_in_order(arena)
    db.close()


def submit(db: Database, name: str, count: int) -> None:
    for first in range(0, count, 10_000):
        tasks.submit_many(db, [TaskRequest(name, "scale")] * min(10_000, count - first))


def assert_in_order(arena: Arena) -> None:
    """Nothing that stands in the queue has come before what was claimed from it: nobody is overtaken."""
    with arena.direct() as conn:
        row = conn.execute(
            """select (select max(s.task_no) from tasker_step s where s.state in (2, 4) and s.definition_id = r.definition_id and s.started_at is not null
                          and not exists (select from tasker_task t where t.task_no = s.task_no and t.priority > 0)) < min(r.task_no)
                 from tasker_ready r group by r.definition_id"""
        ).fetchone()
    assert row == (True,)


# ---- F24


def test_a_snapshot_that_somebody_keeps_costs_half_the_throughput_at_most(arena: Arena) -> None:
    """An analyst's transaction keeps every dead row alive, at a steady load, with autovacuum off until it has ended.

    Beside an engine, whose pace is that of its handlers' disk, a session claims and reports as fast as the database lets it.
    """
    db = Database(arena.server.url, call_seconds=600)
    claimer = Claimer(arena, tasks.register_definition(db, workflow("queue", 1).definition))
    arena.start_engines(1)
    before = paces(arena, db, claimer)
    with arena.direct() as conn:
        for (table,) in conn.execute("select relname from pg_class where relkind = 'r' and relname like 'tasker%'").fetchall():
            conn.execute(f"alter table {table} set (autovacuum_enabled = false)".encode())
    with psycopg.connect(arena.server.url) as analyst:
        analyst.execute("set transaction isolation level repeatable read")
        analyst.execute("select count(*) from tasker_task")
        steady(arena, db, claimer, 60 * SNAPSHOT_MINUTES, before[0] / 2)
        during = paces(arena, db, claimer)
        dead = dead_rows(arena)
    with arena.direct() as conn:
        for (table,) in conn.execute("select relname from pg_class where relkind = 'r' and relname like 'tasker%'").fetchall():
            conn.execute(f"alter table {table} reset (autovacuum_enabled)".encode())
            conn.execute(f"vacuum {table}".encode())
    after = paces(arena, db, claimer)
    db.close()
    print(f"steps a second by an engine and by a session alone: {before} before, {during} with a snapshot of {SNAPSHOT_MINUTES:g} minutes and {dead:,} dead rows, {after} after it")
    for calm, burdened in zip(before, during, strict=True):
        assert burdened > calm * SHARE_WITH_SNAPSHOT * LOADED
    arena.assert_kept()


def paces(arena: Arena, db: Database, claimer: Claimer) -> tuple[int, int]:
    """Steps a second of the engine, with nothing else to do, and then of the session."""
    return round(burst(arena)), round(churn(db, claimer, BATCH * ROUNDS))


def burst(arena: Arena, trees: int = 150) -> float:
    began = time.monotonic()
    arena.submit("tree", trees)
    arena.settle(120)
    return trees * 7 / (time.monotonic() - began)


def churn(db: Database, claimer: Claimer, count: int) -> float:
    """So many steps are made, claimed and reported; how many a second are claimed and reported."""
    submit(db, "queue", count)
    began = time.monotonic()
    while claimer.turn():
        pass
    return count / (time.monotonic() - began)


def steady(arena: Arena, db: Database, claimer: Claimer, seconds: float, pace: float) -> None:
    """The engine has as much to do as its pace allows, and the session the rest of the steps."""
    began, given, taken = time.monotonic(), 0, 0
    while (passed := time.monotonic() - began) < seconds:
        if given < passed * pace:
            arena.submit("tree", 10)
            given += 70
        if given + taken < passed * STEPS_A_SECOND:
            churn(db, claimer, BATCH)
            taken += BATCH
        time.sleep(0.05)
    arena.settle(120)


def dead_rows(arena: Arena) -> int:
    with arena.direct() as conn:
        conn.execute("select pg_stat_force_next_flush()")
        row = conn.execute("select sum(n_dead_tup)::bigint from pg_stat_user_tables where relname like 'tasker%'").fetchone()
    assert row is not None
    return int(row[0])
