"""`POST /api/v1/tasks`: a task is made once, from exactly what was asked for, or not at all."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from calls import Caller, codes
from flask import Flask
from flask.testing import FlaskClient

from engine import log_lines, queries
from engine.db import Database

Order = Callable[..., dict[str, Any]]


def test_a_task_is_on_record_once_it_is_answered(api: Caller, db: Database, order: Order) -> None:
    answer = api.post("/tasks", order(tags=["vip"], priority=5, reason="by hand"))
    assert answer.status_code == 201
    made = answer.json
    assert made == {"task_id": made["task_id"], "namespace": "shop", "name": "process_order", "version": "1.0.0", "created": True}
    assert answer.headers["Location"].endswith(f"/api/v1/tasks/{made['task_id']}")
    detail = queries.task(db, made["task_id"])
    assert detail.context == {"order_id": 7, "speed": "normal"}
    assert (detail.task.tags, detail.task.priority, detail.reason, detail.source_system) == (("vip",), 5, "by hand", "api")


@pytest.mark.parametrize("by_header", [True, False])
def test_a_repeated_key_answers_the_first_task(api: Caller, order: Order, by_header: bool) -> None:
    def send() -> Any:
        return api.post("/tasks", order(), Idempotency_Key="k1") if by_header else api.post("/tasks", order(idempotency_key="k1"))

    first, again = send(), send()
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json == {**first.json, "created": False}


def test_one_key_sent_by_many_at_once_makes_one_task(app: Flask, api: Caller, order: Order) -> None:
    # forbids: two requests with one key that both look before either has written
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: Caller(app.test_client()).post("/tasks", order(), Idempotency_Key="k"), range(24)))
    assert sorted(answer.status_code for answer in answers) == [200] * 23 + [201]
    assert len({answer.json["task_id"] for answer in answers}) == 1


def test_a_key_is_not_lent_to_another_request(api: Caller, order: Order) -> None:
    api.post("/tasks", order(), Idempotency_Key="k1")
    answer = api.post("/tasks", order(context={"order_id": 8}), Idempotency_Key="k1")
    assert answer.status_code == 422
    assert codes(answer) == [("", "key_reused")]


def test_a_key_that_is_none_is_refused(api: Caller, order: Order) -> None:
    assert codes(api.post("/tasks", order(), Idempotency_Key="")) == [("idempotency_key", "empty")]
    assert codes(api.post("/tasks", order(), Idempotency_Key="k" * 300)) == [("idempotency_key", "too_large")]


def test_two_keys_for_one_task_are_refused(api: Caller, order: Order) -> None:
    assert codes(api.post("/tasks", order(idempotency_key="a"), Idempotency_Key="b")) == [("idempotency_key", "ambiguous")]


def test_everything_that_is_wrong_is_told_at_once_with_its_place(api: Caller) -> None:
    answer = api.post("/tasks", {"nmae": "x", "priority": "high", "tags": [""], "parent_step": "charge"})
    assert answer.status_code == 422
    assert set(codes(answer)) == {("nmae", "unknown_key"), ("name", "missing"), ("priority", "bad_type"), ("tags[0]", "empty"), ("parent_step", "unknown_key")}


def test_a_context_that_does_not_fit_is_told_by_its_place_in_the_body(api: Caller, order: Order, conn: psycopg.Connection[Any]) -> None:
    answer = api.post("/tasks", order(context={"order_id": True, "speed": "warp"}))
    assert answer.status_code == 422
    assert {path for path, _ in codes(answer)} == {"context.order_id", "context.speed"}
    assert conn.execute("select count(*) from tasker_task").fetchone() == (0,)


def test_a_workflow_nobody_knows_is_not_found(api: Caller, order: Order) -> None:
    answer = api.post("/tasks", order(version="9.0.0"))
    assert answer.status_code == 404
    assert "has no version 9.0.0; there is 1.0.0" in answer.json["errors"][0]["message"]


def test_the_correlation_id_may_come_in_a_header(api: Caller, db: Database, order: Order) -> None:
    made = api.post("/tasks", order(), X_Correlation_ID="order 7").json
    assert queries.task(db, made["task_id"]).task.correlation_id == "order 7"


def test_the_senders_name_for_a_request_reaches_log_answer_and_task(api: Caller, db: Database, order: Order, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tasker.web")
    named: list[dict[str, Any]] = []

    def note(record: logging.LogRecord) -> bool:
        named.append(log_lines.attempt_fields())
        return True

    caplog.handler.addFilter(note)
    answer = api.post("/tasks", order(), X_Request_ID="edge-7")
    caplog.handler.removeFilter(note)
    assert (answer.status_code, answer.headers["X-Correlation-ID"]) == (201, "edge-7")
    assert queries.task(db, answer.json["task_id"]).task.correlation_id == "edge-7"
    [line] = [record for record in caplog.records if record.name == "tasker.web"]
    assert line.getMessage() == "POST /api/v1/tasks: 201"
    assert [fields["correlation_id"] for fields in named] == ["edge-7"]


def test_a_task_belongs_to_the_trace_of_its_caller(api: Caller, order: Order, conn: psycopg.Connection[Any]) -> None:
    span = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert codes(api.post("/tasks", order(traceparent=span))) == [("traceparent", "unknown_key")]
    for given, kept in ((span, span), ("nonsense", None)):
        made = api.post("/tasks", order(), traceparent=given).json
        assert conn.execute("select traceparent from tasker_task where task_id = %s", [made["task_id"]]).fetchone() == (kept,)


def test_a_batch_is_made_as_a_whole(api: Caller, order: Order) -> None:
    answer = api.post("/tasks/batch", {"tasks": [order(context={"order_id": n}) for n in (1, 2, 3)]})
    assert answer.status_code == 201
    assert len({one["task_id"] for one in answer.json["tasks"]}) == 3


def test_a_batch_with_one_wrong_task_makes_none_and_names_it(api: Caller, order: Order, conn: psycopg.Connection[Any]) -> None:
    listed = [order(), order(context={}), order(name="unheard_of"), order(bypass_steps=["nope"])]
    answer = api.post("/tasks/batch", {"tasks": listed[:2] + listed[3:]})
    assert answer.status_code == 422
    assert codes(answer) == [("tasks[1].context.order_id", "missing"), ("tasks[2].bypass_steps[0]", "unknown_step")]
    assert codes(api.post("/tasks/batch", {"tasks": listed})) == [("tasks[2].name", "not_found")]
    assert conn.execute("select count(*) from tasker_task").fetchone() == (0,)


def test_a_batch_sent_again_answers_the_same_tasks(api: Caller, order: Order) -> None:
    body = {"tasks": [order(idempotency_key="a"), order(idempotency_key="b")]}
    first, again = api.post("/tasks/batch", body), api.post("/tasks/batch", body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert [one["task_id"] for one in again.json["tasks"]] == [one["task_id"] for one in first.json["tasks"]]


def test_a_batch_that_is_none_is_refused(api: Caller) -> None:
    for body in ({}, {"tasks": []}, {"tasks": {}}, {"tasks": [1]}, {"tasks": [{}], "more": 1}, [1]):
        assert api.post("/tasks/batch", body).status_code == 422, body


def test_too_long_a_backlog_takes_no_more_tasks(app: Flask, api: Caller, order: Order) -> None:
    app.config["API_BACKLOG"] = 1
    api.create()
    app.extensions["tasker_api_backlog"]._looked_at = float("-inf")
    api.create()
    app.extensions["tasker_api_backlog"]._looked_at = float("-inf")
    answer = api.post("/tasks", order())
    assert (answer.status_code, codes(answer)) == (503, [("", "backlog")])
    assert int(answer.headers["Retry-After"]) > 0


def test_a_cookie_opens_nothing_and_no_form_token_is_asked_for(from_elsewhere: FlaskClient, api: Caller, order: Order) -> None:
    from_elsewhere.set_cookie("tasker_session", "anything")
    answer = from_elsewhere.post("/api/v1/tasks", json=order())
    assert (answer.status_code, codes(answer)) == (401, [("", "unauthorized")])
    assert answer.headers["WWW-Authenticate"] == "Bearer realm=tasker"
