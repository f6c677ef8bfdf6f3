"""A request is known by the correlation id of its sender: in the log, in the answer, and in the task that it makes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from engine import queries
from engine.db import Database

Post = Callable[..., Any]


def test_a_form_takes_it_on_as_programs_do(post: Post, client: FlaskClient, db: Database, definition_id: int) -> None:
    client.environ_base["HTTP_X_CORRELATION_ID"] = "edge-8"
    answer = post("/workflows/shop/process_order/1.0.0/launch", **{"context/order_id": "7"})
    assert answer.status_code == 303, answer.text
    assert queries.task(db, answer.headers["Location"].rpartition("/")[2]).task.correlation_id == "edge-8"


@pytest.mark.parametrize("odd", ["", "x" * 256, "caf\xe9", "two\tparts"])
def test_a_name_that_is_none_is_in_no_answer(app: Flask, odd: str) -> None:
    answer = app.test_client().get("/health/live", headers={"X-Request-ID": odd})
    assert "X-Correlation-ID" not in answer.headers


def test_what_only_looks_is_told_for_debug_alone(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tasker.web")
    client.get("/health/live")
    assert not caplog.records
    caplog.set_level(logging.DEBUG, "tasker.web")
    client.get("/health/live")
    assert [record.getMessage() for record in caplog.records if record.name == "tasker.web"] == ["GET /health/live: 200"]


def test_a_link_that_signs_in_is_told_without_what_it_is_worth(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "tasker.web")
    client.get("/login/link/worth-a-session")
    told = [record for record in caplog.records if record.name == "tasker.web"]
    assert told[-1].getMessage().startswith("GET /login/link/…: ")
    assert not [record for record in told if "worth-a-session" in repr(vars(record))]
