"""Whatever is sent to the API, the answer is in its one form, says what to correct, and nothing was written."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from calls import Caller, codes
from flask import Flask, abort
from flask.testing import FlaskClient
from signed_in import token_for
from sqlalchemy.exc import OperationalError

from engine.access import audit
from engine.db import Database
from engine.errors import DatabaseUnavailable
from engine.json_text import MAX_BYTES
from engine.settings import Settings
from webapp import create_app
from webapp.api.limits import Buckets

UNSOUND: list[tuple[Any, int, str]] = [
    ("{", 400, "bad_json"),
    ("", 400, "bad_json"),
    (b'{"name": "\xff"}', 400, "bad_encoding"),
    ('{"name": "a", "name": "b"}', 422, "duplicate_key"),
    ('{"context": {"a": NaN}}', 422, "not_finite"),
    ('{"context": {"a": 1e400}}', 422, "not_finite"),
    ('{"context": {"a": ' + "9" * 5_000 + "}}", 422, "number_too_large"),
    ('{"context": {"a": "\\u0000"}}', 422, "nul_character"),
    ('{"context": {"\\u0000": 1}}', 422, "nul_character"),
    ('{"context": {"a": "\\ud800"}}', 422, "lone_surrogate"),
    ('{"context": ' + "[" * 5_000 + "]" * 5_000 + "}", 422, "too_deep"),
    ("null", 422, "bad_type"),
    ("[]", 422, "bad_type"),
    ('"text"', 422, "bad_type"),
    ("7", 422, "bad_type"),
]


def test_what_is_no_sound_json_is_refused_by_name(api: Caller, conn: psycopg.Connection[Any]) -> None:
    for body, status, code in UNSOUND:
        answer = api.post("/tasks", body)
        assert (answer.status_code, code in [found for _, found in codes(answer)]) == (status, True), (body[:40], answer.text)
    assert conn.execute("select count(*) from tasker_task").fetchone() == (0,)


def test_the_place_of_a_fault_is_told_from_the_root_of_the_body(api: Caller) -> None:
    assert codes(api.post("/tasks", '{"context": {"a": ["x\\u0000"]}}')) == [("context.a[0]", "nul_character")]


def test_a_body_that_is_too_large_is_refused(client: FlaskClient) -> None:
    for size in (MAX_BYTES + 1, 3 << 20):
        answer = client.post("/api/v1/tasks", data=b" " * size, content_type="application/json")
        assert (answer.status_code, codes(answer)) == (413, [("", "too_large")])


def test_what_is_not_json_in_utf_8_is_refused(client: FlaskClient) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "application/xml", ""):
        answer = client.post("/api/v1/tasks", data=b"{}", content_type=content_type)
        assert (answer.status_code, codes(answer)) == (415, [("", "unsupported_media_type")]), content_type


def test_a_compressed_body_is_refused(client: FlaskClient) -> None:
    sent = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert client.post("/api/v1/tasks", data=gzip.compress(b"{}"), headers=sent).status_code == 415


def test_an_address_that_does_not_exist_is_not_found_in_json(client: FlaskClient) -> None:
    for path in ("/api/v1/nothing", "/api/v2/tasks", "/api/", "/api/v1/tasks/", "/api/v1/%00", "/api/v1/schedules/99999999999999999999"):
        answer = client.get(path)
        assert (answer.status_code, codes(answer)) == (404, [("", "not_found")]), path


def test_a_method_that_an_address_does_not_take_is_refused_with_those_it_takes(client: FlaskClient) -> None:
    for method in ("GET", "PUT", "DELETE", "TRACE", "PATCH"):
        answer = client.open("/api/v1/tasks/batch", method=method)
        assert (answer.status_code, codes(answer)) == (405, [("", "method_not_allowed")]), method
        assert "POST" in answer.headers["Allow"]


def test_a_host_that_is_not_ours_is_refused_in_json(client: FlaskClient) -> None:
    answer = client.get("/api/v1/tasks", headers={"Host": "evil.example"})
    assert answer.status_code == 400
    assert "TASKER_ALLOWED_HOSTS" in answer.json["errors"][0]["message"]


def test_a_caller_without_the_right_is_told_so(api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    from webapp.api import access

    monkeypatch.setattr(access, "require", lambda permission, namespace: abort(403))
    answer = api.post("/tasks", {"namespace": "shop", "name": "process_order"})
    assert (answer.status_code, codes(answer)) == (403, [("", "forbidden")])


@pytest.mark.parametrize("error", [DatabaseUnavailable("cannot reach PostgreSQL"), OperationalError("select secret", {}, Exception("gone"))])
def test_a_database_that_is_away_is_told_with_when_to_ask_again(api: Caller, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    from webapp import access

    def fail() -> None:
        raise error

    monkeypatch.setattr(access, "primary", fail)
    answer = api.get("/tasks/00000000-0000-0000-0000-000000000000")
    assert (answer.status_code, codes(answer)) == (503, [("", "unavailable")])
    assert int(answer.headers["Retry-After"]) > 0
    assert "secret" not in answer.text


def test_a_database_without_tables_is_told_with_what_to_do(settings: Settings, empty_database_url: str) -> None:
    client = create_app(settings, database_url=empty_database_url).test_client()
    answer: Any = client.get("/api/v1/tasks", headers={"Authorization": f"Bearer tasker_{'a' * 16}_{'b' * 43}"})
    assert answer.status_code == 503
    assert "run tasker db upgrade" in answer.json["errors"][0]["message"]


def test_what_nobody_expected_is_not_shown(app: Flask, api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    from webapp.api import tasks

    app.config["PROPAGATE_EXCEPTIONS"] = False
    monkeypatch.setattr(tasks, "list_tasks", lambda *_, **__: 1 / 0)
    answer = api.get("/tasks")
    assert (answer.status_code, codes(answer)) == (500, [("", "internal")])
    assert "division" not in answer.text


def test_a_hasty_caller_is_told_when_to_ask_again(app: Flask, api: Caller) -> None:
    app.config["API_RATE"] = 0.001
    assert api.get("/engines").status_code == 200
    answer = api.get("/engines")
    assert (answer.status_code, codes(answer)) == (429, [("", "too_many_requests")])
    assert int(answer.headers["Retry-After"]) > 1


def test_what_a_caller_may_not_do_is_counted_too_and_past_its_share_not_on_record(app: Flask, database_url: str, db: Database, failed_task: str) -> None:
    app.config["API_RATE"] = 0.001
    client = FlaskClient(app)
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token_for(database_url, 'reader', 'viewer')}"
    viewer = Caller(client)
    assert [viewer.post(f"/tasks/{failed_task}/retry").status_code for _ in range(5)] == [403, *[429] * 4]
    assert [entry.action for entry in audit.entries(db, actor="reader", outcome="denied")] == ["tasker.task:retry"]
    for path in ("/nothing", f"/tasks/{failed_task}/retry"):
        answer = viewer.get(path)
        assert (answer.status_code, codes(answer)) == (429, [("", "too_many_requests")]), path


def test_a_bucket_fills_with_time_and_is_each_callers_own() -> None:
    now = [0.0]
    buckets = Buckets(lambda: now[0])
    assert [buckets.take("a", 2.0) for _ in range(11)][-2:] == [0.0, 0.5]
    assert buckets.take("b", 2.0) == 0.0
    now[0] = 0.5
    assert [buckets.take("a", 2.0), buckets.take("a", 2.0)] == [0.0, 0.5]


def test_at_most_fifty_problems_are_told(api: Caller, order: Callable[..., Any]) -> None:
    answer = api.post("/tasks/batch", {"tasks": [order(context={}) for _ in range(80)]})
    assert len(answer.json["errors"]) == 50
