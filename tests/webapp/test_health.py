"""`/health`: lives, can serve, how it stands."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from engine.settings import Settings
from webapp import create_app


@pytest.fixture
def cut_off(settings: Settings) -> FlaskClient:
    return create_app(settings, database_url="postgresql://nobody:p4ssw0rd@127.0.0.1:1/nothing").test_client()


def test_a_dashboard_with_its_database_is_ready(client: FlaskClient) -> None:
    assert client.get("/health/live").json == {"status": "ok"}
    assert client.get("/health/ready").json == {"status": "ok"}


def test_a_database_outage_makes_it_unready_but_not_dead(cut_off: FlaskClient) -> None:
    assert cut_off.get("/health/live").status_code == 200
    answer = cut_off.get("/health/ready")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert "p4ssw0rd" not in answer.text


def test_a_database_without_tables_is_not_ready(settings: Settings, empty_database_url: str) -> None:
    assert create_app(settings, database_url=empty_database_url).test_client().get("/health/ready").status_code == 503


def test_the_status_tells_engines_queues_and_tasks(client: FlaskClient, failed_task: str) -> None:
    status: Any = client.get("/health/status").json
    assert status["tasks"]["failed"] == 1
    assert status["engines"] == {"alive": 1}
    assert set(status["steps"]) == {"ready", "running", "delayed"}


def test_the_status_is_for_this_machine_only(app: Flask) -> None:
    far = app.test_client().get("/health/status", environ_base={"REMOTE_ADDR": "192.0.2.7"})
    assert far.status_code == 401
    claimed = app.test_client().get(
        "/health/status", environ_base={"REMOTE_ADDR": "192.0.2.7"}, headers={"X-Forwarded-For": "127.0.0.1"}
    )
    assert claimed.status_code == 401
