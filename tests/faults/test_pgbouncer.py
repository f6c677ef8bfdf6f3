"""A real pgbouncer in session mode carries an engine and a dashboard as PostgreSQL itself does; in transaction mode it is noticed."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from arena import until
from flask import Flask
from pgbouncer import MISSING, PROGRAM, PgBouncer
from signed_in import Reader

from engine import tasks
from engine.db import Database, connect, keeps_session
from engine.handlers import Workflow
from engine.registry import HandlerRegistry
from engine.requests import TaskRequest
from engine.scheduler import Engine
from webapp import create_app

pytestmark = [pytest.mark.skipif(PROGRAM is None, reason=MISSING), pytest.mark.timeout(180)]


@pytest.fixture
def bouncer(database_url: str) -> Iterator[PgBouncer]:
    made = PgBouncer(database_url, "session")
    yield made
    made.end()


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> HandlerRegistry:
    monkeypatch.setattr(HandlerRegistry, "_instance", HandlerRegistry())
    flow = Workflow("flow", namespace="pooled", version="1.0.0")
    flow.step()(first)
    flow.step(depends_on_step="first")(second)
    return HandlerRegistry.instance()


def first(task: object) -> int:
    return 1


def second(first: int) -> int:
    return first + 1


def test_session_mode_is_told_from_transaction_mode(bouncer: PgBouncer, database_url: str) -> None:
    """Both name a server process that is none, and a pooler with nothing else to do lends the same one again."""
    with connect(bouncer.url) as pooled:
        assert keeps_session(pooled)
    shared = PgBouncer(database_url, "transaction")
    try:
        with connect(shared.url) as lent:
            assert not keeps_session(lent)
    finally:
        shared.end()


def test_an_engine_and_a_dashboard_work_through_session_mode_and_go_on_when_the_pooler_is_killed_and_comes_back(
    bouncer: PgBouncer, registry: HandlerRegistry, db: Database, conn: psycopg.Connection[object], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Flask, "test_client_class", Reader)
    engine = Engine(bouncer.url, registry, runner="threads", concurrency=2, grace=1)
    engine.start()
    try:
        assert finished(db) == [1, 2]
        assert not [record for record in caplog.records if "pooler" in record.getMessage()]
        assert conn.execute("select count(*) from tasker_worker where server_started_at is not null").fetchone() == (1,)
        client = create_app(database_url=bouncer.url).test_client()
        assert "pooled/flow" in client.get("/tasks").text
        bouncer.kill()
        waiting = tasks.submit(db, TaskRequest("flow", "pooled"))
        bouncer.start()
        until(lambda: ended(db, waiting), "the task that was launched meanwhile")
        until(lambda: client.get("/tasks").status_code == 200, "the page")
    finally:
        engine.drain()


def finished(db: Database) -> list[object]:
    task_id = tasks.submit(db, TaskRequest("flow", "pooled"))
    until(lambda: ended(db, task_id), "the task to end")
    return [row[0] for row in db.rows("select s.result from tasker_steps s where s.task_id = %(id)s order by s.step_no", {"id": task_id})]


def ended(db: Database, task_id: str) -> bool:
    return bool(db.value("select state from tasker_task where task_id = %(id)s", {"id": task_id}) == 4)
