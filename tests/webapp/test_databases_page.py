"""Two real databases behind one dashboard: each below its own address, accounts in the first, and what lives elsewhere is led to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from flask import Flask
from flask.testing import FlaskClient
from signed_in import session_of, token_for, token_of

from engine import Workflow, tasks
from engine.client import Client
from engine.db import Database
from engine.requests import TaskRequest
from engine.settings import Settings
from engine.shards import read_shards
from engine.testing.databases import Databases
from webapp import create_app, database, health, live
from webapp.access import COOKIE, own_page
from webapp.shards import apps_of

AWAY = "/db/payments"


@dataclass
class Installation:
    """The dashboard of both, and a task in each."""

    app: Flask
    payments: Database
    order: str
    payment: str

    @property
    def token(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {token_for(self.app.config['DATABASE_URL'])}"}


def made(settings: Settings, database_url: str, payments_url: str) -> Flask:
    app = create_app(replace(settings, database_url=database_url, shards=read_shards(f"payments={payments_url};*={database_url}")))
    for each in apps_of(app):
        each.config.update(TESTING=True, GLANCE_SECONDS=0, HEALTH_SECONDS=0)
    return app


def closed(app: Flask) -> None:
    for each in apps_of(app):
        live.close(each)
        health.close(each)
        database.close(each)


def given(db: Database, namespace: str) -> str:
    flow = Workflow("flow", namespace=namespace, version="1.0.0")
    flow.step()(work)
    tasks.register_definition(db, flow.definition)
    return tasks.submit(db, TaskRequest("flow", namespace))


def work(task: object) -> None: ...


@pytest.fixture
def payments_url(databases: Databases, template: str) -> Iterator[str]:
    with databases.fresh(template) as url:
        yield url


@pytest.fixture
def both(settings: Settings, db: Database, database_url: str, payments_url: str) -> Iterator[Installation]:
    payments = Database(payments_url, max_size=1)
    app = made(settings, database_url, payments_url)
    yield Installation(app, payments, given(db, "shop"), given(payments, "payments"))
    payments.close()
    closed(app)


@pytest.fixture
def client(both: Installation) -> FlaskClient:
    return both.app.test_client()


def test_each_database_has_its_pages_below_its_own_address_and_a_task_is_found_from_any(both: Installation, client: FlaskClient) -> None:
    assert both.order in client.get("/tasks").text
    assert both.payment not in client.get("/tasks").text
    away = client.get(f"{AWAY}/tasks").text
    assert (both.order in away, both.payment in away) == (False, True)
    assert f'href="{AWAY}/tasks/{both.payment}"' in away
    assert "Database <strong>payments</strong>" in away
    led = {
        f"/tasks/{both.payment}": f"{AWAY}/tasks/{both.payment}",
        f"{AWAY}/tasks/{both.order}": f"/tasks/{both.order}",
        "/workflows/payments/flow?x=1": f"{AWAY}/workflows/payments/flow?x=1",
        "/tasks?namespace=payments": f"{AWAY}/tasks?namespace=payments",
        "/tasks?namespace=payments&tag=%0D%0Aa": f"{AWAY}/tasks?namespace=payments&tag=%0D%0Aa",
        f"/tasks/{both.payment}/steps/work?next=//evil.example": f"{AWAY}/tasks/{both.payment}/steps/work?next=//evil.example",
        f"{AWAY}/settings": "/settings",
        f"{AWAY}/views": "/views",
    }
    for asked, answered in led.items():
        answer = client.get(asked)
        assert (answer.status_code, answer.location) == (307, answered), asked
        assert client.get(answered).status_code == 200
    strange = f"/tasks/{both.payment}/steps/a%3Fb%0D%0AX"
    assert client.get(strange).location == AWAY + strange
    assert client.get(f"{AWAY}/workflows/x%0D%0Ay").location == "/workflows/x%0D%0Ay"
    assert not (client.get("/db/payments//evil.example/%2e%2e").location or "").startswith("//")
    assert client.get(f"{AWAY}/tasks/00000000-0000-0000-0000-000000000000").status_code == 404


def test_an_act_is_done_and_recorded_where_the_task_lives_by_an_account_of_the_home(both: Installation, client: FlaskClient, db: Database) -> None:
    token = token_of(client.get(f"{AWAY}/tasks/{both.payment}").text)
    led = client.post(f"/tasks/{both.payment}/cancellation", data={"csrf_token": token, "reason": "twice"})
    assert (led.status_code, led.location) == (307, f"{AWAY}/tasks/{both.payment}/cancellation")
    assert client.post(led.location, data={"csrf_token": token, "reason": "twice"}).status_code == 303
    assert both.payments.value("select state from tasker_tasks where task_id = %(id)s", {"id": both.payment}) == "cancelled"
    assert both.payments.rows("select actor from tasker_audit where outcome = 'done'") == [("dashboard",)]
    assert both.payments.value("select count(*) from tasker_account") == 0
    follow = client.post(f"{AWAY}/tasks/{both.payment}/followers", data={"csrf_token": token, "channel": "email", "target": "a@example.org"})
    assert follow.status_code == 404


def test_the_api_makes_a_task_where_its_namespace_lives(both: Installation, client: FlaskClient, db: Database) -> None:
    asked: dict[str, Any] = {"json": {"name": "flow", "namespace": "payments"}, "headers": both.token}
    led = client.post("/api/v1/tasks", **asked)
    assert (led.status_code, led.location) == (307, f"{AWAY}/api/v1/tasks")
    assert client.post(led.location, **asked).status_code == 201
    with Client("http://localhost", both.token["Authorization"].split()[1], transport=httpx.WSGITransport(app=both.app)) as program:
        made = program.submit(TaskRequest("flow", "payments"))
        assert program.task_row(made).namespace == "payments"
        assert program.submit(TaskRequest("flow", "shop"))
    assert both.payments.value("select count(*) from tasker_task") == 3
    mixed = client.post("/api/v1/tasks/batch", json={"tasks": [{"name": "flow", "namespace": "payments"}, {"name": "flow", "namespace": "shop"}]}, headers=both.token)
    assert (mixed.status_code, mixed.json["errors"][0]["code"]) == (422, "two_databases")  # type: ignore[index]
    assert client.post(f"{AWAY}/api/v1/tasks", json={"name": "flow", "namespace": "shop"}, headers=both.token).location == "/api/v1/tasks"
    assert client.get(f"{AWAY}/api/v1/views", headers=both.token).location == "/api/v1/views"
    assert db.value("select count(*) from tasker_task") == 2


def test_who_may_not_see_a_namespace_does_not_learn_where_it_lives(both: Installation) -> None:
    reader = FlaskClient(both.app)
    reader.set_cookie(COOKIE, session_of(both.app.config["DATABASE_URL"], "ada", "viewer", "shop"))
    for address in (f"/tasks/{both.payment}", f"{AWAY}/tasks/{both.payment}", "/workflows/payments", "/tasks?namespace=payments"):
        answer = reader.get(address)
        assert answer.status_code == (200 if "?" in address else 404), address
    assert both.payment not in reader.get(f"{AWAY}/tasks").text
    page = reader.get("/databases").text
    assert (">shop<" in page, "/workflows/payments" in page) == (True, False)


def test_a_task_of_another_database_is_not_compared_and_the_page_says_so(both: Installation, client: FlaskClient) -> None:
    pairs = {f"/tasks/{both.order}/compare/{both.payment}": "payments", f"{AWAY}/tasks/{both.payment}/compare/{both.order}": "main"}
    for address, name in pairs.items():
        answer = client.get(address)
        assert (answer.status_code, f"That task is in the database {name}; only tasks of one database can be compared." in answer.text) == (422, True)
    led = client.get(f"/tasks/{both.payment}/compare?with={both.order}", follow_redirects=True)
    assert (led.status_code, led.request.path) == (422, f"{AWAY}/tasks/{both.payment}/compare/{both.order}")
    assert client.get(f"/tasks/{both.order}/compare/{both.order}").status_code == 200
    reader = FlaskClient(both.app)
    reader.set_cookie(COOKIE, session_of(both.app.config["DATABASE_URL"], "ada", "viewer", "shop"))
    foreign, none = (reader.get(f"/tasks/{both.order}/compare/{other}") for other in (both.payment, "00000000-0000-0000-0000-000000000000"))
    assert foreign.status_code == none.status_code == 404
    assert "payments" not in foreign.text


def test_the_streams_of_all_databases_together_leave_the_server_threads(both: Installation, client: FlaskClient) -> None:
    for each in apps_of(both.app):
        each.config["LIVE_STREAM_LIMIT"] = 1
    for one, other in (("/live", f"{AWAY}/live"), (f"{AWAY}/live", "/live")):
        with client.get(one) as first:
            assert first.mimetype == "text/event-stream"
            assert client.get(other).status_code == 503


def test_who_is_not_signed_in_is_led_to_the_home_and_back(both: Installation) -> None:
    stranger = FlaskClient(both.app)
    led = stranger.get(f"{AWAY}/failures")
    assert led.status_code == 303
    at_home = stranger.get(led.location)
    assert (at_home.status_code, at_home.location) == (307, "/login?next=/db/payments/failures")
    assert 'value="/db/payments/failures"' in stranger.get(at_home.location).text
    with both.app.test_request_context():
        wanted = ("/db/payments/failures", "/db/payments//evil.example", "/db/nowhere/failures", "//evil.example/db/payments/")
        assert [own_page(each) for each in wanted] == ["/db/payments/failures", "/", "/", "/"]


def test_the_page_of_databases_tells_all_and_one_that_is_down_while_the_others_work(both: Installation, client: FlaskClient, settings: Settings, database_url: str, payments_url: str) -> None:
    given(both.payments, "shop")
    page = client.get("/databases").text
    assert page.count("</svg>Answers") == 2
    assert f'href="{AWAY}/workflows/payments"' in page
    assert "lives in main now" in page
    rows = [json.loads(line) for line in client.get("/databases?format=ndjson").text.splitlines()]
    assert [(row["database"], row["namespace"], row["lives_in"], row["open_task_count"]) for row in rows if row["namespace"] in ("shop", "payments")] == [
        ("main", "shop", "main", 1), ("payments", "payments", "payments", 1), ("payments", "shop", "main", 1)
    ]  # fmt: skip
    assert "/databases?format=csv" in page
    app = made(settings, database_url, "postgresql://127.0.0.1:1/gone")
    broken = app.test_client()
    page = broken.get("/databases").text
    assert "payments: does not answer" in page
    assert "annot reach PostgreSQL at 127.0.0.1:1/gone" in page
    assert both.order in broken.get("/tasks").text
    assert broken.get(f"/tasks/{both.order}").status_code == 200
    assert broken.get(f"{AWAY}/tasks").status_code == 503
    unknown = broken.get(f"/tasks/{both.payment}")
    assert (unknown.status_code, "payments may have it" in unknown.text) == (503, True)
    closed(app)
