"""Requests that cannot be served: each has a page in the design and none shows a traceback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from engine.settings import Settings
from webapp import MAX_REQUEST_BYTES, create_app, database
from webapp.access import COOKIE
from webapp.routes import ROUTES, SIGNED_IN

UNREACHABLE = "postgresql://nobody:p4ssw0rd@127.0.0.1:1/nothing"


@pytest.fixture
def cut_off(settings: Settings) -> FlaskClient:
    """A dashboard whose database cannot be reached."""
    client = FlaskClient(create_app(settings, database_url=UNREACHABLE))
    client.set_cookie(COOKIE, "whoever")
    return client


@pytest.mark.parametrize(
    "path", ["/", "/tasks/7f3b4c80-0000-4000-8000-000000000000"]
)
def test_without_its_database_a_page_says_so_and_when_to_try_again(cut_off: FlaskClient, path: str) -> None:
    answer = cut_off.get(path)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "The database cannot be reached" in answer.text
    assert "Traceback" not in answer.text
    assert "p4ssw0rd" not in answer.text


def test_a_database_without_tables_is_there_and_not_prepared(settings: Settings, empty_database_url: str) -> None:
    visitor = FlaskClient(create_app(settings, database_url=empty_database_url))
    visitor.set_cookie(COOKIE, "whoever")
    answer = visitor.get("/tasks")
    assert answer.status_code == 503
    assert "The database is not prepared" in answer.text
    assert "run tasker db upgrade" in answer.text
    assert "cannot be reached" not in answer.text


def test_a_page_that_the_database_holds_up_does_not_say_that_it_is_away(app: Flask, client: FlaskClient, conn: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.get("/tasks").status_code == 200
    monkeypatch.setattr(database, "CALL_SECONDS", 1.0)
    with conn.transaction():
        conn.execute("lock table tasker_task in access exclusive mode")
        answer = client.get("/tasks")
    assert answer.status_code == 503
    assert "The database did not answer in time" in answer.text
    assert "tries again by itself" in answer.text


def test_a_page_that_was_read_is_asked_for_anew_and_a_form_that_was_sent_is_not(cut_off: FlaskClient) -> None:
    read, sent = cut_off.get("/batches/new/pause?tag=night"), cut_off.post("/batches/new/pause?tag=night", data={"count": "3"})
    assert read.status_code == sent.status_code == 503
    assert ['http-equiv="refresh"' in answer.text for answer in (read, sent)] == [True, False]
    assert ["tries again by itself" in answer.text for answer in (read, sent)] == [True, False]
    assert ["look first whether it was done" in answer.text for answer in (read, sent)] == [False, True]


def test_without_its_database_htmx_gets_a_notice(cut_off: FlaskClient) -> None:
    answer = cut_off.get("/tasks", headers={"HX-Request": "true"})
    assert answer.status_code == 503
    assert 'id="notices"' in answer.text
    assert "<html" not in answer.text


def test_without_any_database_configured_a_page_says_what_to_set(settings: Settings) -> None:
    answer = create_app(settings).test_client().get("/")
    assert answer.status_code == 503
    assert "TASKER_DATABASE_URL" in answer.text


def test_a_database_without_tables_is_told_apart(settings: Settings, empty_database_url: str) -> None:
    answer = create_app(settings, database_url=empty_database_url).test_client().get("/tasks")
    assert answer.status_code == 503
    assert "tasker db upgrade" in answer.text


def test_an_address_that_names_nothing_has_a_page(client: FlaskClient) -> None:
    answer = client.get("/nothing<script>")
    assert answer.status_code == 404
    assert "There is nothing here" in answer.text
    assert "<script>" not in answer.text


def test_a_request_that_is_too_large_is_refused(post: Callable[..., TestResponse], failed_task: str) -> None:
    answer = post(f"/tasks/{failed_task}/steps/charge/resolution", result="x" * MAX_REQUEST_BYTES)
    assert answer.status_code == 413
    assert "This is too large" in answer.text


def test_a_fault_of_ours_shows_no_traceback(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    app.config["TESTING"] = app.config["PROPAGATE_EXCEPTIONS"] = False
    monkeypatch.setitem(ROUTES, "fault", SIGNED_IN)
    app.add_url_rule("/fault", "fault", view_func=lambda: 1 // 0)
    answer = app.test_client().get("/fault")
    assert answer.status_code == 500
    assert "ZeroDivisionError" not in answer.text
    assert "Something went wrong here" in answer.text
