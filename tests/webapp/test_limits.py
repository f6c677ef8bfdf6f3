"""What somebody sends changes nothing but what they may change: no SQL, no setting of a workflow, no page of theirs in another's browser; and a crowd holds nobody up for long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from signed_in import token_for

from engine import TaskRequest, Workflow, queries, tasks
from engine.db import Database
from engine.registry import HandlerRegistry
from engine.testing.workbench import Workbench

INJECTIONS = ("'", "';drop table tasker_task;--", "' or '1'='1", "1;select pg_sleep(5)", "x' union select password_hash from tasker_account--", "%(id)s")
PARAMETERS = (
    "namespace", "name", "version", "state", "stuck", "slower", "tag", "initiator", "q", "context", "created_from", "created_to", "within", "cursor", "limit", "level", "attempt", "type", "sort", "order", "queue",
    "actor", "action", "outcome", "object", "at_from", "at_to", "before", "from_task", "preset", "items_of", "shown", "from", "to", "role",
)  # fmt: skip
HTML = "<!doctype html><script>alert(1)</script>"


@pytest.fixture
def program(app: Flask) -> FlaskClient:
    client = FlaskClient(app)
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token_for(app.config['DATABASE_URL'])}"
    return client


def test_no_parameter_becomes_sql(app: Flask, client: FlaskClient, program: FlaskClient, db: Database, failed_task: str) -> None:
    """Each injection in every query parameter of every list at once, and as a part of addresses: answered as a text like any other, soon, and nothing is gone."""
    app.config["API_RATE"] = 0
    lists = ("/tasks", "/audit", "/steps", "/api/v1/tasks", "/api/v1/events", "/api/v1/audit", "/api/v1/schedules", f"/api/v1/tasks/{failed_task}/log")
    wrong = []
    for text in INJECTIONS:
        asked = [(path, dict.fromkeys(PARAMETERS, text)) for path in lists]
        asked += [(path, {}) for path in (f"/workflows/{text}/{text}", f"/tasks/{failed_task}/steps/{text}", f"/api/v1/workflows/{text}", f"/api/v1/accounts/{text}")]
        for path, query in asked:
            answer = (program if path.startswith("/api/") else client).get(path, query_string=query)
            wrong += [(path, text, answer.status_code)] if answer.status_code >= 500 or "argon2" in answer.text else []
            answer.close()
    assert wrong == []
    assert queries.task(db, failed_task).task.state == "failed"
    assert db.value("select count(*) from pg_stat_activity where query like '%%pg_sleep(5)%%' and pid <> pg_backend_pid() and state = 'active'", {}) == 0


@pytest.fixture
def bench(database_url: str) -> Iterator[Workbench]:
    made = Workbench(database_url, HandlerRegistry())
    yield made
    made.close()


def test_a_context_changes_no_setting_of_its_workflow_and_no_result_is_a_page(bench: Workbench, app: Flask, client: FlaskClient, program: FlaskClient) -> None:
    """A context with the names of settings is data; and what a handler returns is a file, whatever it looks like."""
    flow = Workflow("bounded", namespace="shop")
    calls: list[int] = []

    @flow.step(retry_limit=2, handler_config={"mode": "safe"})
    def only(task: Any, step: Any) -> str:
        calls.append(step.attempt)
        assert (step.handler_config, step.retry_limit, task.name, task.namespace) == ({"mode": "safe"}, 2, "bounded", "shop")
        return HTML

    settings = {
        "retry_limit": 99, "timeout": 1, "handler_class": "os.system", "handler_config": {"mode": "wild"}, "step_templates": [{"name": "other"}], "name": "other", "namespace": "other", "version": "9.9.9",
        "environments": {"production": {}}, "__class__": "x", "priority": 32_000, "task_id": "x", "state": "completed", "steps": {"only": {"state": "completed"}}, "$ref": "file:///etc/passwd",
    }  # fmt: skip
    done = bench.run(flow, settings)
    assert (done.state, calls) == ("completed", [1])
    assert queries.task(bench.db, done.task_id).task.priority == 0
    body = {"name": "bounded", "namespace": "shop", "version": "0.1.0"}
    for extra in ("retry_limit", "state", "task_id", "steps", "created_at", "parent_task_id", "definition_id", "paused", "actor"):
        refused = program.post("/api/v1/tasks", json={**body, extra: 1})
        assert (refused.status_code, [each["path"] for each in refused.json["errors"]]) == (422, [extra])
    for path in (f"/tasks/{done.task_id}/steps/only/result.json", f"/tasks/{done.task_id}/context.json", "/audit.csv"):
        answer = client.get(path)
        assert answer.mimetype in ("application/json", "text/csv")
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in answer.headers["Content-Security-Policy"]


@pytest.mark.nightly
def test_a_crowd_of_heavy_requests_holds_nobody_up_for_long(app: Flask, client: FlaskClient, db: Database, definition_id: int) -> None:
    """Fifty searches through everything and fifty large bodies at once: a page takes less than its own deadline, and every request is answered."""
    tasks.create_tasks(db, [TaskRequest("process_order", "shop", context={"order_id": number, "note": "x" * 500}) for number in range(1, 1_001)])
    heavy = ["/tasks?context=note%3Dy&q=nothing", "/api/v1/tasks?q=nothing&context=note%3Dy", "/?", "/workflows/shop/process_order/1.0.0"]
    token = token_for(app.config["DATABASE_URL"])
    assert client.get("/schedules").status_code == 200

    def ask(number: int) -> int:
        reader = FlaskClient(app) if number % 2 else app.test_client()
        return reader.get(heavy[number % len(heavy)], headers={"Authorization": f"Bearer {token}"}).status_code

    with ThreadPoolExecutor(16) as pool:
        crowd = [pool.submit(ask, number) for number in range(100)]
        started = time.monotonic()
        assert client.get("/schedules").status_code == 200
        took = time.monotonic() - started
        assert {each.result() for each in crowd} <= {200, 303, 429, 503}
    assert took < 30
