"""Batches over the API: the same choice, rights and guard as the page's."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from calls import Caller, codes
from flask import Flask
from flask.testing import FlaskClient
from signed_in import token_for

from engine import batches, queries
from engine.db import Database
from engine.finding import failures
from webapp import batches as batches_page
from webapp import listing


def test_all_tasks_of_a_filter_are_cancelled_as_a_dry_run_has_told(api: Caller, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [api.create(tags=["night"]) for _ in range(3)]
    other = api.create()
    body: dict[str, Any] = {"filter": {"tag": "night"}, "reason": "a wrong price"}
    dry = api.post("/batches/new/cancellation?dry_run=true", body)
    assert (dry.status_code, dry.json["count"], dry.json["is_cut"], {one["task_id"] for one in dry.json["items"]}) == (200, 3, False, set(made))
    with monkeypatch.context() as nearer:
        nearer.setattr(listing, "LOOKED_AT", 2)
        looked_for = api.post("/batches/new/cancellation?dry_run=true", {"filter": {"tag": "night", "q": "nobody"}}).json
    assert (looked_for["count"], looked_for["is_cut"], "older ones were not looked through" in looked_for["about"]) == (0, True, True)
    assert codes(api.post("/batches/new/cancellation", body)) == [("count", "missing")]
    assert api.post("/batches/new/cancellation", body | {"count": 2}).status_code == 412
    assert api.get("/batches").json["batches"] == []
    begun = [api.post("/batches/new/cancellation", body | {"count": 3, "idempotency_key": "once"}) for _ in range(2)]
    assert [one.status_code for one in begun] == [201, 201]
    assert begun[0].json == begun[1].json
    batches.run_due(db, threading.Event())
    path = f"/batches/{begun[0].json['batch_id']}"
    assert begun[0].headers["Location"].endswith(path)
    shown = api.get(f"{path}?limit=2").json
    assert (shown["done_count"], shown["left_count"], bool(shown["finished_at"]), len(shown["items"]), shown["next_cursor"]) == (3, 0, True, 2, "2")
    assert [queries.task(db, task).task.state for task in (*made, other)] == ["cancelled"] * 3 + ["pending"]
    assert api.post(f"{path}/stop").status_code == 409


def test_all_steps_of_a_cause_are_resolved_and_a_batch_is_stopped(api: Caller, db: Database, failed_task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    key = failures.failure_groups(db)[0].key
    with monkeypatch.context() as smaller:
        smaller.setattr(batches_page, "MOST_ITEMS", 0)
        assert api.post("/batches/new/step-retry?dry_run=true", {"failure": key}).json["is_cut"]
    begun = api.post("/batches/new/step-resolution", {"failure": key, "count": 1, "result": {"paid": True}})
    assert (begun.status_code, begun.json["action"]) == (201, "resolve")
    stopped = api.post(f"/batches/{begun.json['batch_id']}/stop", {"reason": "not yet"}).json
    assert (stopped["left_count"], bool(stopped["stopped_by"])) == (1, True)
    again = api.post("/batches/new/step-resolution", {"failure": key, "count": 1, "result": {"paid": True}}).json
    batches.run_due(db, threading.Event())
    assert api.get(f"/batches/{again['batch_id']}").json["items"] == [{"item_no": 1, "task_id": failed_task, "step_name": "charge", "outcome": "done", "message": None}]
    assert queries.step(db, failed_task, "charge").result == {"paid": True}


def test_a_key_that_has_made_a_batch_answers_the_same_request_alone(api: Caller, db: Database, failed_task: str) -> None:
    api.create(tags=["night"])
    key, failure = {"idempotency_key": "once"}, failures.failure_groups(db)[0].key
    body: dict[str, Any] = {"filter": {"tag": "night"}, "count": 1, **key}
    made = api.post("/batches/new/pause", body)
    assert made.status_code == 201
    dry = api.post("/batches/new/cancellation?dry_run=true", body)
    assert (dry.status_code, dry.json["dry_run"], dry.json["action"]) == (200, True, "cancel")
    others = (("cancellation", body), ("pause", body | {"filter": {}}), ("pause", {"failure": failure, "count": 1, **key}), ("step-retry", {"failure": failure, "count": 1, **key}))
    for noun, other in others:
        answer = api.post(f"/batches/new/{noun}", other)
        assert (answer.status_code, codes(answer)) == (422, [("", "key_reused")]), (noun, other)
    assert codes(api.post("/batches/new/pause", key)) == [("filter", "ambiguous")]
    assert [one["batch_id"] for one in api.get("/batches").json["batches"]] == [made.json["batch_id"]]


def test_a_key_that_has_resolved_a_group_answers_the_same_result_alone(api: Caller, db: Database, failed_task: str) -> None:
    body: dict[str, Any] = {"failure": failures.failure_groups(db)[0].key, "count": 1, "result": {"paid": 1}, "idempotency_key": "once"}
    made = api.post("/batches/new/step-resolution", body).json
    assert codes(api.post("/batches/new/step-resolution", body | {"result": {"paid": 2}})) == [("", "key_reused")]
    assert codes(api.post("/batches/new/step-retry", body)) == [("", "key_reused")]
    batches.run_due(db, threading.Event())
    again = api.post("/batches/new/step-resolution", body)
    assert (again.status_code, again.json["batch_id"]) == (201, made["batch_id"])


@pytest.mark.parametrize(("noun", "body", "path"), [
    ("retry", {"count": 1}, "filter"),
    ("retry", {"filter": {}, "failure": "x"}, "filter"),
    ("step-retry", {}, "filter"),
    ("retry", {"filter": {"within": "soon"}}, "filter.within"),
    ("retry", {"filter": {"colour": "red"}}, "filter.colour"),
    ("retry", {"filter": {}, "count": 0}, "items"),
])  # fmt: skip
def test_what_no_batch_can_be_is_told(api: Caller, noun: str, body: dict[str, Any], path: str) -> None:
    assert [one[0] for one in codes(api.post(f"/batches/new/{noun}", body))] == [path]


def test_a_batch_is_begun_only_where_its_action_is_allowed(app: Flask, api: Caller, database_url: str, definition_id: int) -> None:
    api.create()
    for role, status in (("viewer", 403), ("operator", 200)):
        caller = FlaskClient(app)
        caller.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token_for(database_url, role, role)}"
        assert Caller(caller).post("/batches/new/pause?dry_run=true", {"filter": {}}).status_code == status
    elsewhere = FlaskClient(app)
    elsewhere.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token_for(database_url, 'far', 'operator', 'elsewhere')}"
    assert Caller(elsewhere).post("/batches/new/pause?dry_run=true", {"filter": {}}).json["count"] == 0
