"""What the worker hands to a handler, and how much of it at once."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from engine import TaskRequest, queries, tasks
from engine import worker as worker_module
from engine.db import Database, connect
from engine.definition import StepTemplate, TaskDefinition
from engine.handlers import Sequence
from engine.runners.threads import ThreadsRunner
from engine.worker import BATCH, CLOSED_STEPS, Worker

PARENTS, CHARACTERS, READ = 10_000, 50_000, 400


def test_a_join_over_ten_thousand_parents_reads_their_results_one_by_one(
    db: Database, conn: psycopg.Connection[Any], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All results together are 500 MB, and those that the handler reads 20 MB: neither is ever held at once."""
    monkeypatch.setattr("engine.handlers.KEPT_VALUES", 20)
    monkeypatch.setattr("engine.definition.MAX_STEPS", 2 * PARENTS)   # twice as many as a definition may have
    ended, peaks = threading.Event(), []

    def join(sequence: Sequence) -> int:
        total = sum(len(step.results["text"]) for step in sequence.steps[:: PARENTS // READ])
        peaks.append(tracemalloc.get_traced_memory()[1])
        ended.set()
        return total

    names = [f"part_{number}" for number in range(PARENTS)]
    steps = (*(StepTemplate(name) for name in names), StepTemplate("join", depends_on_steps=names, handler_class=join))
    definition = TaskDefinition("tests", "wide", version="1.0.0", steps=steps)
    definition_id = tasks.register_definition(db, definition)
    task_id = tasks.submit(db, TaskRequest("wide", "tests"))
    conn.execute("delete from tasker_ready")
    conn.execute("update tasker_step set state = 4, result = jsonb_build_object('text', repeat('x', %s)) where step_no < %s", [CHARACTERS, PARENTS])
    conn.execute("update tasker_step set state = 1, pending = 0 where step_no = %s", [PARENTS])
    conn.execute("insert into tasker_ready (rank, task_no, step_no, definition_id) select now(), task_no, step_no, definition_id from tasker_step where state = 1")
    worker = Worker(database_url, ThreadsRunner(1, grace=1), {definition_id: definition}, name="test", runner_name="threads", concurrency=1)
    definition.ancestors("join")   # what it remembers is no result
    tracemalloc.start()
    try:
        worker.start()
        assert ended.wait(90)
    finally:
        worker.drain(5)
        tracemalloc.stop()
    assert queries.results(db, task_id, ["join"]) == {"join": READ * CHARACTERS}
    assert peaks[0] < READ * CHARACTERS / 2


@pytest.mark.parametrize(("kib", "is_told"), [(250, False), (257, True)])
def test_what_is_large_is_taken_and_said_to_be(db: Database, database_url: str, caplog: pytest.LogCaptureFixture, kib: int, is_told: bool) -> None:
    large = ["x" * 1020] * kib
    ended = threading.Event()
    definition = TaskDefinition("tests", "large", version="1.0.0", steps=(StepTemplate("read", handler_class=lambda: large), StepTemplate("end", depends_on_steps="read", handler_class=lambda: ended.set())))
    definition_id = tasks.register_definition(db, definition)
    task_id = tasks.submit(db, TaskRequest("large", "tests", context={"rows": large}))
    worker = Worker(database_url, ThreadsRunner(1, grace=1), {definition_id: definition}, name="test", runner_name="threads", concurrency=1)
    worker.start()
    assert ended.wait(20)
    worker.drain(5)
    assert queries.results(db, task_id, ["read"]) == {"read": large}
    assert ("a task's context has 256 KiB" in caplog.text, f"the result of step read of task {task_id} has 256 KiB" in caplog.text) == (is_told, is_told)


def test_nothing_may_begin_once_the_lease_is_over(db: Database, conn: psycopg.Connection[Any], database_url: str) -> None:
    definition = TaskDefinition("tests", "leased", version="1.0.0", steps=(StepTemplate("only", handler_class=lambda: None),))
    runner = ThreadsRunner(1, grace=1)
    worker = Worker(
        database_url, runner, {tasks.register_definition(db, definition): definition}, name="test", runner_name="threads", concurrency=1, lease=timedelta(seconds=20)
    )
    worker.start()
    try:
        assert time.monotonic() < runner.may_start_until <= time.monotonic() + 20
        conn.execute("update tasker_worker set lease_until = tasker_clock()")
        worker.heartbeat(conn)
        assert worker.lease_lost.is_set()
        assert runner.may_start_until < time.monotonic()
    finally:
        worker.abandon()
        runner.stop(0)


def test_who_asks_what_runs_need_not_walk_through_what_has_ended(db: Database, conn: psycopg.Connection[Any], database_url: str) -> None:
    definition = TaskDefinition("tests", "quick", version="1.0.0", steps=(StepTemplate("only", handler_class=lambda: None),))
    definition_id = tasks.register_definition(db, definition)
    tasks.submit_many(db, [TaskRequest("quick", "tests")] * 3 * CLOSED_STEPS)
    worker = Worker(database_url, ThreadsRunner(4, grace=1), {definition_id: definition}, name="test", runner_name="threads", concurrency=4)
    worker.start()
    try:
        while db.value("select exists (select from tasker_task where finished_at is null)"):
            time.sleep(0.05)
        assert not worker.is_at_rest
        assert db.value("select coalesce(sum(cardinality(task_nos)), 0)::int from tasker_claim") <= CLOSED_STEPS + BATCH
    finally:
        worker.drain(5)


def test_an_engine_that_looks_for_work_in_vain_is_at_rest(
    db: Database, database_url: str, eventually: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Forbids that looking counts as work: what is told when there is time would never have any.
    monkeypatch.setattr(worker_module, "REST_SECONDS", 0.5)
    definition = TaskDefinition("tests", "rare", version="1.0.0", steps=(StepTemplate("only", handler_class=lambda: None),))
    worker = Worker(database_url, ThreadsRunner(1, grace=1), {tasks.register_definition(db, definition): definition}, name="test", runner_name="threads", concurrency=1)
    worker.start()
    try:
        task_id = tasks.submit(db, TaskRequest("rare", "tests"))
        worker.claim()
        assert eventually(lambda: queries.task_row(db, task_id).state == "completed")
        assert not worker.is_at_rest
        for _ in range(40):
            worker.claim()
            time.sleep(0.05)
        assert worker.is_at_rest
    finally:
        worker.drain(5)


@pytest.fixture
def full(db: Database, database_url: str, eventually: Callable[..., bool]) -> Iterator[tuple[Worker, str, threading.Event]]:
    """A worker with one place, the task that fills it, and what lets that end."""
    go_on = threading.Event()
    definition = TaskDefinition("tests", "long", version="1.0.0", steps=(StepTemplate("only", handler_class=lambda: go_on.wait(60)),))
    worker = Worker(database_url, ThreadsRunner(1, grace=1), {tasks.register_definition(db, definition): definition}, name="test", runner_name="threads", concurrency=1)
    worker.start()
    try:
        task_id = tasks.submit(db, TaskRequest("long", "tests"))
        worker.claim()
        assert eventually(lambda: worker.running_count)
        yield worker, task_id, go_on
    finally:
        go_on.set()
        worker.drain(5)


def test_a_full_worker_whose_sessions_are_ended_is_back_before_others_take_it_for_dead(
    db: Database, conn: psycopg.Connection[Any], eventually: Callable[..., bool], full: tuple[Worker, str, threading.Event]
) -> None:
    # Forbids that it notices with its next report only: its lock is free until then, and its steps are others'.
    worker, task_id, go_on = full
    other = conn.execute("select tasker_register_worker('other', 'threads', 1, '{}', '30 seconds', false)").fetchone()
    holders = "select count(*) from pg_locks where locktype = 'advisory' and classid = 77 and objid = %s"
    conn.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tasker engine' and datname = current_database()")
    assert eventually(lambda: conn.execute(holders, [worker.who.worker_id]).fetchone() == (0,))
    conn.execute("select tasker_reap_workers(%s)", other)
    worker.wake()  # as an engine's poll does
    assert eventually(lambda: conn.execute(holders, [worker.who.worker_id]).fetchone() != (0,), 5)
    go_on.set()
    assert eventually(lambda: queries.task_row(db, task_id).state == "completed")
    assert conn.execute("select attempts from tasker_steps").fetchall() == [(1,)]


def test_sessions_of_an_engine_may_be_idle_for_as_long_as_they_like(db: Database, conn: psycopg.Connection[Any], database_url: str) -> None:
    # Forbids that a limit of the database for all its sessions takes the lock of an engine whose steps are long.
    conn.execute(f"alter database {conn.info.dbname} set idle_session_timeout = '1s'")
    with connect(database_url) as session:
        assert session.execute("show idle_session_timeout").fetchone() == ("0",)
