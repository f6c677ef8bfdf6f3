"""`/health`: lives, can serve, how it stands."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from engine.access import accounts, tokens
from engine.db import Database
from engine.settings import Settings
from webapp import create_app, database, health, live


@pytest.fixture
def cut_off(settings: Settings) -> FlaskClient:
    return create_app(settings, database_url="postgresql://nobody:p4ssw0rd@127.0.0.1:1/nothing").test_client()


def checks(client: FlaskClient) -> dict[str, str]:
    """What `/health/ready` says of each part."""
    answer: Any = client.get("/health/ready").json
    return {"status": answer["status"], **{name: part["status"] for name, part in answer["checks"].items()}}


def test_a_dashboard_with_database_and_engine_is_ready(client: FlaskClient, engine: Any) -> None:
    assert client.get("/health/live").json == {"status": "ok"}
    assert checks(client) == {"status": "ok", "database": "ok", "schema": "ok", "engine": "ok", "listener": "idle"}
    heard = client.get("/health/ready").json["checks"]["engine"]["heartbeat_seconds"]  # type: ignore[index]
    assert 0 <= heard < 60


def test_without_an_engine_it_serves_and_says_so(client: FlaskClient, engine: Any, conn: psycopg.Connection[Any]) -> None:
    conn.execute("update tasker_worker set seen_at = seen_at - interval '16 s'")
    answer = client.get("/health/ready")
    assert (answer.status_code, checks(client)["status"], checks(client)["engine"]) == (200, "degraded", "silent")
    conn.execute("delete from tasker_worker")
    assert checks(client)["engine"] == "silent"


def test_a_schema_that_is_behind_makes_it_unready_and_one_ahead_does_not(client: FlaskClient, engine: Any, conn: psycopg.Connection[Any]) -> None:
    conn.execute("update tasker_schema_version set version_num = '0000_before'")
    answer = client.get("/health/ready")
    assert (answer.status_code, checks(client)["schema"]) == (503, "behind")
    assert "tasker db upgrade" in answer.text
    conn.execute("update tasker_schema_version set version_num = '9999_after'")
    assert (client.get("/health/ready").status_code, checks(client)["schema"], checks(client)["status"]) == (200, "ahead", "degraded")


def test_live_pages_that_hear_nothing_are_told(app: Flask, client: FlaskClient, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with app.app_context():
        feed = live.feed_of(app)
    stream = feed.open(None)
    assert stream
    assert checks(client)["listener"] == "ok"
    assert "\ntasker_web_live_streams 1.0\n" in client.get("/metrics").text
    monkeypatch.setattr(health, "DEAF_SECONDS", -1.0)
    assert (checks(client)["listener"], checks(client)["status"]) == ("deaf", "degraded")
    feed.leave(stream)
    assert checks(client)["listener"] == "idle"


def test_a_probe_needs_none_of_the_pages_connections(app: Flask, client: FlaskClient, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with app.app_context():
        pages = database.database()
    monkeypatch.setattr(pages, "connection", lambda: pytest.fail("a probe took a connection of the pages"))
    assert client.get("/health/ready").status_code == client.get("/health/status").status_code == 200


def test_a_database_outage_makes_it_unready_but_not_dead(cut_off: FlaskClient) -> None:
    assert cut_off.get("/health/live").status_code == 200
    answer = cut_off.get("/health/ready")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert answer.json["checks"]["database"] == {"status": "unavailable"}  # type: ignore[index]
    assert "p4ssw0rd" not in answer.text
    assert cut_off.get("/health/status").status_code == 503


def test_a_database_without_tables_is_not_ready(settings: Settings, empty_database_url: str) -> None:
    assert create_app(settings, database_url=empty_database_url).test_client().get("/health/ready").status_code == 503


def test_the_status_tells_engines_queues_and_tasks(client: FlaskClient, failed_task: str, launch: Callable[..., str], engine: Any, conn: psycopg.Connection[Any]) -> None:
    engine.complete(launch(), "validate", "charge", "reserve", "ship")
    for _ in range(2):
        engine.fail(launch(), "validate", retryable=True, delay=600)
    launch()
    engine.claim()
    for _ in range(3):
        launch()
    conn.execute("""insert into tasker_worker (name, runner, concurrency, definitions, started_at, seen_at, lease_until)
                    values ('other', 'threads', 1, '{}', now(), now(), now() + interval '1 hour'), ('gone', 'threads', 1, '{}', now(), now(), now() - interval '1 hour')""")  # fmt: skip
    [true] = conn.execute(
        """select (select jsonb_object_agg(x.state, x.number) from (select tasker_state_name(t.state) as state, count(*) as number from tasker_task t group by 1) x),
                  count(*) filter (where s.state = 1), count(*) filter (where s.state = 2), count(*) filter (where s.state = 3), min(t.created_at) filter (where s.state = 1),
                  (select count(*) from tasker_worker where lease_until > now())
             from tasker_step s join tasker_task t using (task_no)"""
    ).fetchall()
    assert true[1:4] == (3, 1, 2), "figures of one another would not be told apart"
    status: Any = client.get("/health/status").json
    steps = status["steps"]
    assert (status["tasks"], steps.pop("ready"), steps.pop("running"), steps.pop("delayed"), datetime.fromisoformat(status["oldest_ready_at"]), status["engines"]["alive"]) == true
    assert (steps, status["status"], status["live_streams"]) == ({}, "ok", 0)


def test_the_status_is_for_this_machine_only(app: Flask) -> None:
    far = app.test_client().get("/health/status", environ_base={"REMOTE_ADDR": "192.0.2.7"})
    assert far.status_code == 401
    claimed = app.test_client().get(
        "/health/status", environ_base={"REMOTE_ADDR": "192.0.2.7"}, headers={"X-Forwarded-For": "127.0.0.1"}
    )
    assert claimed.status_code == 401


def test_the_status_is_for_tokens_that_may_see_all_of_it(app: Flask, db: Database, engine: Any) -> None:
    for name, namespace, expected in (("all", None, 200), ("some", "shop", 403)):
        accounts.create_account(db, name, role="viewer", namespace=namespace, password="a long enough one", actor="test")
        token = tokens.make_token(db, name, "probe", actor="test")
        far = app.test_client().get("/health/status", environ_base={"REMOTE_ADDR": "192.0.2.7"}, headers={"Authorization": f"Bearer {token}"})
        assert far.status_code == expected, far.text
