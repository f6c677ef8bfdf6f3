"""What only a release needs: the former release and this one at work together, and migrations while everything runs.

FAULTS_FORMER names a folder with the code of the former release. While there is none, a copy of this one takes its part, so that the exchange itself is tested.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faults
import psycopg
import pytest
from arena import ROOT, Arena, Beside, EngineProcess, Where, until
from test_scale import SCALE, submit, workflow

from engine import migrate, tasks
from engine.bench.past import end_all
from engine.db import Database

pytestmark = [pytest.mark.release, pytest.mark.timeout(900)]

TREES = int(os.environ.get("FAULTS_TREES") or 300)
LONGEST_LOCK_SECONDS = 1.0
PAST_TASKS, PAST_STEPS = int(100_000 * SCALE), 10
PARTS = ("engine", "webapp", "sql", "migrations")


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    installation = Arena(tmp_path, seed=27)
    yield installation
    installation.end()


@pytest.fixture
def former(tmp_path: Path) -> Where:
    """Where the engines of the former release run."""
    if given := os.environ.get("FAULTS_FORMER"):
        return Where(code=Path(given).resolve())
    return Where(code=copied(tmp_path / "former"))


def copied(folder: Path) -> Path:
    """A copy of this release."""
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


# ---- F26


def test_two_releases_work_together_while_engines_and_dashboard_are_exchanged_one_by_one_and_back(arena: Arena, former: Where) -> None:
    engines = [begun(arena, former) for _ in range(3)]
    assert all(Path(f"/proc/{engine.pid}/cwd").resolve() == former.code for engine in engines)
    arena.start_web(code=former.code, watched=False)
    arena.run_load([*exchanges(Where()), *exchanges(former)], trees=TREES)
    arena.assert_kept()
    said = [line for engine in arena.engines for line in engine.said().splitlines() if "ERROR" in line or "Traceback" in line]
    assert not said, said[:5]


def exchanges(where: Where) -> list[faults.Fault]:
    """Everything that runs elsewhere now, engine by engine, and then the dashboard."""
    return [*[lambda arena: exchange(arena, where)] * 3, lambda arena: exchange_web(arena, where)]


def exchange(arena: Arena, where: Where) -> None:
    """The eldest engine is told to end, and one from elsewhere begins."""
    engine = arena.living()[0]
    with arena.fault("an engine exchanged for one of another release", engine):
        engine.process.terminate()
        until(lambda: not engine.alive, f"{engine.label} to end", 30)
        engine.end()
        begun(arena, where)


def exchange_web(arena: Arena, where: Where) -> None:
    with arena.fault("the dashboard exchanged for one of another release"):
        arena.kill_web()
        arena.start_web(code=where.code, watched=False)
        with urllib.request.urlopen(urllib.request.Request(f"{arena.web_url}/tasks", headers=arena.cookie), timeout=15) as answer:
            assert (answer.status, answer.url) == (200, f"{arena.web_url}/tasks")


def begun(arena: Arena, where: Where) -> EngineProcess:
    engine = arena.start_engine(where)
    until(lambda: engine.workers() or not engine.alive, f"{engine.label} to come up")
    assert engine.alive, engine.said()
    return engine


# ---- F27

HELD = """
select exists (select from pg_locks l join pg_stat_activity a using (pid) join pg_class c on c.oid = l.relation
                where a.application_name = 'tasker migration' and l.granted and c.relname like 'tasker%' and c.relkind = 'r'
                  and l.mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))"""
"""Whether a migrator has a lock on a table that keeps writers out of it."""
NEXT_REVISION = "0002_passing"
NEXT = f"""
from alembic import op
from engine.migrate import build_index

revision = "{NEXT_REVISION}"
down_revision = "0001_core"


def upgrade():
    op.execute("alter table tasker_step add column if not exists passing int default 1")
    op.execute("alter table tasker_worker alter column concurrency type bigint")
    build_index("tasker_step_passing", "tasker_step (passing)")
"""


@pytest.fixture
def following(tmp_path: Path) -> Where:
    """Where the next release lies, which changes a column's type and adds a column with an index."""
    copy = copied(tmp_path / "following")
    (copy / "migrations" / "versions" / f"{NEXT_REVISION}.py").write_text(NEXT)
    return Where(code=copy)


def test_migrators_and_changed_tables_harm_no_step(arena: Arena) -> None:
    arena.start_engines(3)
    arena.start_web()
    arena.run_load([faults.change_schema, two_migrators, faults.change_schema, two_migrators, faults.change_schema], trees=TREES)
    arena.assert_kept()


def test_a_migrator_killed_half_way_is_made_good_by_the_next_while_everything_runs(arena: Arena, following: Where) -> None:
    arena.start_engines(3)
    arena.start_web()
    with locks_timed(arena) as locks:
        arena.run_load([lambda arena: kill_migrator(arena, following), lambda arena: migrate_to_the_end(arena, following)], trees=TREES)
    arena.assert_kept()
    assert locks.longest <= LONGEST_LOCK_SECONDS, locks
    assert not [line for line in arena.last_words().splitlines() if "cached plan" in line]


def test_a_migration_at_a_million_rows_keeps_everybody_out_of_a_table_for_a_second_at_most(arena: Arena, following: Where) -> None:
    db = Database(arena.server.url, call_seconds=600)
    past = tasks.register_definition(db, workflow("past", PAST_STEPS).definition)
    submit(db, "past", PAST_TASKS)
    end_all(db.url, past, "interval '1 day'")
    db.close()
    arena.start_engines(2)
    with locks_timed(arena) as locks:
        arena.run_load([lambda arena: migrate_to_the_end(arena, following)], trees=TREES // 3)
    print(f"{PAST_TASKS * PAST_STEPS:,} steps; locks of the migration that keep writers out, s: {[round(seconds, 3) for seconds in locks.held]}, none longer than {locks.longest:.3f}")
    arena.assert_kept()
    assert locks.longest <= LONGEST_LOCK_SECONDS, locks
    assert arena.open_tasks() == 0
    assert not [line for line in arena.last_words().splitlines() if "cached plan" in line]


def kill_migrator(arena: Arena, following: Where) -> None:
    """It dies, and its session with it, while it waits for an older transaction to build its index."""
    with arena.fault("a migrator killed half-way"), arena.direct() as elder, arena.direct() as conn:
        elder.execute("begin isolation level repeatable read")
        elder.execute("select txid_current()")
        migrator = migrator_of(arena, following)
        until(lambda: index_state(conn) == [(False,)], "half an index")
        migrator.kill()
        migrator.wait()
        conn.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tasker migration'")
        elder.execute("rollback")
        until(lambda: not conn.execute("select from pg_stat_activity where application_name = 'tasker migration'").fetchall(), "its session to end")
        assert index_state(conn) == [(False,)]


def migrate_to_the_end(arena: Arena, following: Where) -> None:
    with arena.fault("a migration under load"), arena.direct() as conn:
        migrator = migrator_of(arena, following)
        assert migrator.wait(120) == 0
        assert index_state(conn) == [(True,)]
        assert conn.execute(f"select version_num from {migrate.VERSION_TABLE}").fetchone() == (NEXT_REVISION,)


def migrator_of(arena: Arena, where: Where) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "engine.cli", "db", "upgrade"]
    return subprocess.Popen(command, cwd=where.code, env=arena.environment(arena.server.url), start_new_session=True)


def index_state(conn: psycopg.Connection[Any]) -> list[Any]:
    return conn.execute("select indisvalid from pg_index where indexrelid = to_regclass('tasker_step_passing')").fetchall()


@dataclass
class Locks:
    """How many seconds a migrator kept writers, or everybody, from a table each time it was seen to, and the longest time in which nobody looked."""

    held: list[float] = field(default_factory=list)
    unseen: float = 0.0

    @property
    def longest(self) -> float:
        """No lock was held for longer: each can have begun just after a look, and have ended just before one."""
        return max(self.held, default=0.0) + 2 * self.unseen


@contextmanager
def locks_timed(arena: Arena) -> Iterator[Locks]:
    """A look every few milliseconds."""
    locks, over = Locks(), threading.Event()
    watcher = Beside(_watch_locks, arena, locks, over)
    yield locks
    over.set()
    watcher.end(10)
    assert locks.unseen, "nobody has looked"


def _watch_locks(arena: Arena, locks: Locks, over: threading.Event) -> None:
    since: float | None = None
    with arena.direct() as conn:
        looked = time.monotonic()
        while not over.wait(0.005):
            is_held = conn.execute(HELD.encode()).fetchone() == (True,)
            before, looked = looked, time.monotonic()
            locks.unseen = max(locks.unseen, looked - before)
            if is_held:
                since = since or looked
            elif since is not None:
                locks.held.append(looked - since)
                since = None
    if since is not None:
        locks.held.append(time.monotonic() - since)


def two_migrators(arena: Arena) -> None:
    """Two processes bring the schema up to date at once; it is already."""
    with arena.fault("two migrators at once"):
        for migrator in [Beside(migrate.upgrade, arena.server.url) for _ in range(2)]:
            migrator.end()
    assert not migrate.status(arena.server.url).pending
