"""Rows that another program wrote: JSON that PostgreSQL keeps and Python cannot hold is in nobody's way, and what must be an object cannot be anything else."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from signed_in import Reader, token_for
from werkzeug.routing import Rule

from engine import presets, queries, schedules, tasks
from engine.db import Database
from engine.errors import RequestError
from engine.events import EventReader, before_oldest_event
from engine.finding import failures
from engine.json_text import UNREADABLE_KEY
from engine.requests import TaskRequest
from engine.timing import every

FOREIGN = {
    "deep": f'{{"order_id": 7, "x": {"[" * 5_000}{"]" * 5_000}}}',
    "digits": f'{{"order_id": 7, "x": {"9" * 5_000}}}',
    "infinite": f'{{"order_id": 7, "x": {"9" * 400}.5}}',
}
STREAMS = {"live.live", "patterns.index", "api_events.stream", "static", "signing_in.sign_out"}
COLUMNS = ("tasker_task.context", "tasker_step.result", "tasker_step.error", "tasker_history.detail", "tasker_schedule.context", "tasker_preset.context", "tasker_worker.figures")
OBJECTS = ("tasker_step.error", "tasker_history.detail", "tasker_worker.figures")


@pytest.fixture
def everything(db: Database, failed_task: str) -> str:
    """A row in every table that holds what people and handlers wrote."""
    schedules.add_schedule(db, every(timedelta(hours=1)), name="process_order", namespace="shop", context={"order_id": 1})
    presets.keep_preset(db, "shop", "process_order", "kept", {"order_id": 1}, actor="tests")
    return failed_task


def spoil(conn: psycopg.Connection[Any], text: str) -> None:
    """Another program has written that everywhere."""
    for column in COLUMNS:
        table, _, name = column.partition(".")
        assert conn.execute(f"update {table} set {name} = %s::jsonb where {name} is not null".encode(), [text]).rowcount, column


def addresses(app: Flask, db: Database, task_id: str) -> list[str]:
    """Every address that can be got, and the forms that bring a context back."""
    known = {
        "task_id": task_id, "other_id": task_id, "namespace": "shop", "name": "process_order", "version": "1.0.0", "schedule_id": 1, "noun": "retry", "step_name": "validate",
        "filename": "page.css", "key": failures.failure_groups(db)[0].key, "method": "oidc", "role": "viewer",
    }  # fmt: skip
    rules = [rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ()) and rule.endpoint not in STREAMS]
    launch = "/workflows/shop/process_order/1.0.0/launch"
    return [*(_address(app, rule, known) for rule in rules), f"{launch}?from_task={task_id}", f"{launch}?preset=kept", f"/tasks/{task_id}/steps/charge", f"/api/v1/tasks/{task_id}/steps/charge", "/tasks?context=order_id%3D7"]


def _address(app: Flask, rule: Rule, known: dict[str, Any]) -> str:
    return app.url_map.bind("localhost").build(rule.endpoint, {name: known.get(name, 1) for name in rule.arguments})


@pytest.mark.parametrize("kind", FOREIGN)
def test_json_that_cannot_be_held_makes_no_page_and_no_answer_an_error(app: Flask, db: Database, conn: psycopg.Connection[Any], everything: str, kind: str) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = False
    asked = addresses(app, db, everything)
    spoil(conn, FOREIGN[kind])
    reader, program = Reader(app), FlaskClient(app)
    program.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token_for(app.config['DATABASE_URL'])}"
    statuses = {path: (program if path.startswith("/api/") else reader).get(path).status_code for path in asked}
    assert not {path: status for path, status in statuses.items() if status >= 500}
    assert statuses[f"/tasks/{everything}"] == statuses[f"/api/v1/tasks/{everything}"] == 200
    assert UNREADABLE_KEY in reader.get(f"/tasks/{everything}").text


def test_what_stands_for_such_a_value_says_why_and_is_no_input(db: Database, conn: psycopg.Connection[Any], everything: str) -> None:
    spoil(conn, FOREIGN["deep"])
    context = queries.task(db, everything).context
    assert context == {UNREADABLE_KEY: "it is nested deeper than 128 levels"}
    with pytest.raises(RequestError, match="cannot be read") as refused:
        tasks.submit(db, TaskRequest("process_order", "shop", context={"order_id": 1, "note": context}))
    assert [(one.path, one.code) for one in refused.value.problems] == [("$.note", "unreadable")]


def test_who_reads_events_gets_past_such_a_value(db: Database, conn: psycopg.Connection[Any], everything: str) -> None:
    spoil(conn, FOREIGN["digits"])
    reader, found, deadline = EventReader(db, before_oldest_event(db)), set(), time.monotonic() + 30
    while "step.failed" not in found and time.monotonic() < deadline:  # an old transaction of another test's database holds events back
        found |= {event["type"] for event in reader.read()}
    assert "step.failed" in found


@pytest.mark.parametrize("column", OBJECTS)
@pytest.mark.parametrize("text", ["[1]", '"text"', "7", "null"])
def test_what_is_read_as_an_object_can_be_nothing_else(conn: psycopg.Connection[Any], everything: str, column: str, text: str) -> None:
    table, _, name = column.partition(".")
    with pytest.raises(psycopg.errors.CheckViolation):
        conn.execute(f"update {table} set {name} = %s::jsonb where {name} is not null".encode(), [text])
