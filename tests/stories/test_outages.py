"""A database that goes away and comes back, and connections that end in the middle of a call."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from story import Story, is_alive, until
from test_sharing import DIAMONDS, check_ledger

from engine import migrate, queries
from engine.db import Database
from engine.embedded import EmbeddedServer, ensure_server, stop_server

# a committed transaction survives an immediate stop, not a power failure: enough here
QUICK = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "32MB"}


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server that the test may crash."""
    server = ensure_server(tmp_path / "data", options=QUICK)
    migrate.upgrade(server.url)
    yield server
    stop_server(tmp_path / "data")


def crash(server: EmbeddedServer) -> None:
    """PostgreSQL is gone, by an immediate stop: it has to recover."""
    pid = ensure_server(server.data_dir, options=QUICK).pid
    os.kill(pid, signal.SIGQUIT)
    until(lambda: not is_alive(pid), "PostgreSQL to be gone")


def test_engines_outlive_restarts_of_postgresql_and_lose_nothing(own_server: EmbeddedServer, tmp_path: Path) -> None:
    database = Database(own_server.url)
    story = Story(own_server.url, database, tmp_path)
    try:
        story.write(DIAMONDS)
        engines = [story.start(runner="processes"), story.start(runner="threads")]
        workers = [story.worker_of(engine) for engine in engines]
        tasks: list[str] = []
        for _ in range(3):
            tasks += story.launch_many("diamond", 100)
            story.noted(times=len(tasks) * 4 - 350)
            crash(own_server)
            ensure_server(own_server.data_dir, options=QUICK)
        assert set(story.all_ended(tasks, 30)) == {"completed"}
        assert [engine.process.poll() for engine in engines] == [None, None]
        assert [story.worker_of(engine) for engine in engines] == workers
        check_history(database)
        assert database.value("select max(attempts) from tasker_step") == 1
        check_ledger(story, tasks)
    finally:
        story.end()
        database.close()


def test_an_engine_whose_database_is_away_for_longer_than_its_lease_starts_anew(own_server: EmbeddedServer, tmp_path: Path) -> None:
    database = Database(own_server.url)
    story = Story(own_server.url, database, tmp_path)
    try:
        story.write(DIAMONDS)
        engine = story.start("--lease", "2", runner="threads")
        before = story.worker_of(engine)
        crash(own_server)
        away = time.monotonic()
        until(lambda: time.monotonic() - away > 2.5, "the lease to run out")
        ensure_server(own_server.data_dir, options=QUICK)
        assert story.run("diamond")["state"] == "completed"
        assert story.worker_of(engine) not in (None, before)
    finally:
        story.end()
        database.close()


def test_what_ended_while_the_database_was_away_is_reported_by_a_draining_engine(own_server: EmbeddedServer, tmp_path: Path) -> None:
    database = Database(own_server.url)
    story = Story(own_server.url, database, tmp_path)
    try:
        story.write(DIAMONDS + "\nheld = Workflow('held')\n@held.step()\ndef work():\n    note('held')\n    wait_for('gate')\n    note('ended')\n")
        engine = story.start("--grace", "10")
        task = story.launch("held")
        story.noted("held")
        crash(own_server)
        story.open("gate")
        story.noted("ended")
        engine.send(signal.SIGTERM)
        begun = time.monotonic()
        until(lambda: time.monotonic() - begun > 2, "the engine to try in vain")
        ensure_server(own_server.data_dir, options=QUICK)
        assert engine.process.wait(10) == 0
        assert story.step(task, "work")["state"] == "completed"
        assert database.value("select count(*) from tasker_worker") == 0
    finally:
        story.end()
        database.close()


@pytest.mark.parametrize("runner", ["processes", "threads"])
def test_a_lost_reply_loses_no_step_and_repeats_none(story: Story, admin: psycopg.Connection[Any], runner: str) -> None:
    story.write(DIAMONDS)
    engine = story.start(runner=runner)
    name = psycopg.conninfo.conninfo_to_dict(story.url)["dbname"]
    tasks: list[str] = []
    cuts = 0
    for _ in range(300):  # an engine waits a little before it connects again, so a round may find nothing to cut
        if cuts >= 30:
            break
        tasks += story.launch_many("diamond", 20)
        query = "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = %s and application_name like 'tasker engine%%'"
        found = admin.execute(query, [name]).fetchone()
        cuts += found[0] if found else 0
        time.sleep(0.03)
    assert cuts >= 30
    assert set(story.all_ended(tasks)) == {"completed"}
    check_history(story.db)
    check_ledger(story, tasks)
    assert story.held() == 0
    assert story.engines == [engine]
    assert engine.process.poll() is None


def test_with_two_engines_a_lost_reply_completes_no_step_twice(story: Story, admin: psycopg.Connection[Any]) -> None:
    story.write(DIAMONDS)
    for _ in range(2):
        story.start(runner="threads")
    name = psycopg.conninfo.conninfo_to_dict(story.url)["dbname"]
    tasks: list[str] = []
    for _ in range(30):
        tasks += story.launch_many("diamond", 20)
        query = "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and application_name like 'tasker %%' and random() < 0.5"
        admin.execute(query, [name])
        time.sleep(0.03)
    assert set(story.all_ended(tasks)) == {"completed"}
    check_history(story.db)
    assert story.held() == 0


def check_history(db: Database) -> None:
    """Every step was completed once, in its last attempt, and every task once; each attempt began once."""
    assert db.value("select count(*) from tasker_step where state <> 4") == 0
    twice = "select count(*) from (select from tasker_history where to_state = 4 group by task_no, step_no having count(*) <> 1) x"
    assert db.value(twice) == 0
    begun = "select count(*) from (select from tasker_history where to_state = 2 and step_no is not null group by task_no, step_no, attempt having count(*) <> 1) x"
    assert db.value(begun) == 0
    assert db.value("select (select count(*) from tasker_step) - count(*) from tasker_history where to_state = 4 and step_no is not null") == 0


TALKATIVE = """
talkative = Workflow("talkative")

@talkative.step()
def work(step):
    step.log("before")
    note("begun")
    wait_for("gate")
    step.log("during")
    note("said")
    wait_for("second gate")
"""


def test_what_handlers_say_during_an_outage_is_written_after_it(own_server: EmbeddedServer, tmp_path: Path) -> None:
    database = Database(own_server.url)
    story = Story(own_server.url, database, tmp_path)
    try:
        story.write(TALKATIVE)
        story.start(runner="processes")
        task = story.launch("talkative")
        until(lambda: queries.lines(database, task).items, "the first line")
        crash(own_server)
        story.open("gate")
        story.noted("said")
        ensure_server(own_server.data_dir, options=QUICK)
        story.open("second gate")
        assert story.ended(task, 30)["state"] == "completed"
        until(lambda: len(queries.lines(database, task).items) == 2, "the line that was said meanwhile")
        assert [line.message for line in queries.lines(database, task).items] == ["before", "during"]
    finally:
        story.end()
        database.close()
