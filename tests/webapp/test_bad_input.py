"""What nobody should send: the dashboard refuses it with reasons and keeps nothing of it. The texts are those of every other door."""

from __future__ import annotations

import time
from collections.abc import Callable
from html import unescape
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from engine import queries
from engine.db import Database
from engine.errors import RequestError
from engine.json_text import read_input

Post = Callable[..., TestResponse]
PAGE = "/workflows/shop/process_order/1.0.0/launch"
CONTEXTS = {
    "cut short": '{"order_id": 7',
    "NaN": '{"order_id": NaN}',
    "infinite": '{"order_id": 1e400}',
    "too many digits": '{"order_id": ' + "9" * 5000 + "}",
    "beyond a bigint": '{"order_id": 9223372036854775808}',
    "a key twice": '{"order_id": 7, "order_id": 8}',
    "NUL": '{"order_id": 7, "note": "\\u0000"}',
    "NUL in a key": '{"order_id": 7, "\\u0000": 1}',
    "half a character": '{"order_id": 7, "note": "\\ud800"}',
    "too deep": '{"order_id": 7, "note": ' + "[" * 5000 + "]" * 5000 + "}",
}


@pytest.mark.parametrize("text", CONTEXTS.values(), ids=CONTEXTS.keys())
def test_a_form_says_of_a_context_what_the_reader_of_json_says(post: Post, definition_id: int, db: Database, text: str) -> None:
    with pytest.raises(RequestError) as refused:
        read_input(text)
    answer = post(PAGE, context=text)
    assert answer.status_code == 422
    assert refused.value.problems[0].message[1:] in unescape(answer.text)  # a sentence begins large there
    assert not queries.tasks(db).items


@pytest.mark.parametrize("body", [b"context=%ff%fe", b"context=\xff\xfe", b"context=%00", b"context=%ed%a0%80"])
def test_a_form_that_is_not_utf_8_or_holds_nul_launches_nothing(app: Flask, client: FlaskClient, definition_id: int, db: Database, body: bytes) -> None:
    app.config["WTF_CSRF_ENABLED"] = False
    answer = client.post(PAGE, data=body, content_type="application/x-www-form-urlencoded")
    assert answer.status_code in (400, 422)
    assert not queries.tasks(db).items


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/json; charset=utf-16", "", "multipart/form-data"])
def test_a_form_of_another_type_launches_nothing(app: Flask, client: FlaskClient, definition_id: int, db: Database, content_type: str) -> None:
    app.config["WTF_CSRF_ENABLED"] = False
    answer = client.post(PAGE, data=b'{"context": {"order_id": 7}}', content_type=content_type)
    assert 400 <= answer.status_code < 500
    assert not queries.tasks(db).items


def test_thousands_of_fields_and_unknown_ones_change_nothing(post: Post, definition_id: int, db: Database) -> None:
    answer = post(PAGE, **{"context/order_id": "7", "role": "admin", "state": "completed"}, **{f"field{number}": "x" for number in range(900)})
    assert answer.status_code == 303
    (row,) = queries.tasks(db).items
    assert row.state == "pending"
    assert queries.task(db, row.task_id).context == {"order_id": 7, "speed": "normal"}
    assert post(PAGE, **{"context/order_id": "7"}, **{f"field{number}": "x" for number in range(5_000)}).status_code in (303, 413)


@pytest.mark.parametrize("task_id", ["00000000-0000-0000-0000-000000000000", "9" * 40, "..%2f..%2fetc%2fpasswd", "a" * 9_000, "\u0661\u0662", "%ff", "1e9", "-1"])
def test_an_id_that_cannot_be_one_is_not_found(client: FlaskClient, task_id: str) -> None:
    assert client.get(f"/tasks/{task_id}").status_code == 404
    assert client.get(f"/tasks/{task_id}/steps/charge").status_code == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "TRACE"])
def test_an_action_answers_to_nothing_but_a_post(client: FlaskClient, failed_task: str, method: str) -> None:
    answer = client.open(f"/tasks/{failed_task}/cancellation", method=method)
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


def test_no_header_and_no_field_makes_another_method_of_a_request(client: FlaskClient, failed_task: str, db: Database) -> None:
    client.get(f"/tasks/{failed_task}", query_string={"_method": "POST"}, headers={"X-HTTP-Method-Override": "DELETE"})
    assert queries.task(db, failed_task).task.state == "failed"


def test_a_header_of_a_proxy_that_nobody_configured_is_not_believed(client: FlaskClient) -> None:
    answer = client.get("/", headers={"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/evil"})
    assert answer.status_code == 200
    assert "evil" not in answer.text
    assert client.get("/health/status", headers={"X-Forwarded-For": "127.0.0.1"}, environ_base={"REMOTE_ADDR": "192.0.2.7"}).status_code == 401


@pytest.mark.parametrize("last", ["-1", "\x7f", "9" * 20, "x" * 5_000])
def test_a_stream_begins_anew_whatever_was_heard_last(client: FlaskClient, last: str) -> None:
    answer = client.get("/live", headers={"Last-Event-ID": last}, buffered=False)
    chunks = iter(answer.response)
    assert [next(chunks) for _ in range(2)][1].startswith(b"event: changed")
    answer.close()


def test_a_search_is_for_the_letters_themselves(client: FlaskClient, launch: Callable[..., str]) -> None:
    launch()
    for text in ("%", "_", "\\", "proc%", "process_orde_", ".*", "\u202eredro"):
        assert "/tasks/" not in client.get("/tasks", query_string={"q": text}, headers={"HX-Request": "true"}).text.replace("/tasks/new", ""), text


@pytest.mark.parametrize("text", ["%" * 10_240, "x" * 10_240, "(a+)+$", "'; drop table tasker_task; --", '"<b>"', "\u202egpj.exe", "\u2066a\u2069"], ids=["wild cards", "long", "pattern", "quote", "markup", "override", "isolate"])
def test_no_text_to_search_for_is_more_than_a_text(client: FlaskClient, launch: Callable[..., str], text: str) -> None:
    launch()
    started = time.process_time()
    answers = [client.get(path, query_string={"q": text}) for path in ("/search", "/tasks", "/palette")]
    assert time.process_time() - started < 3 * len(answers)  # processor seconds: what this forbids takes minutes
    assert {answer.status_code for answer in answers} == {200}
    assert not any('"<b>"' in answer.text for answer in answers)
    assert f"“{text[:201]}”" not in unescape(answers[0].text) or len(text) <= 200


def test_what_turns_the_direction_of_writing_is_shown_by_its_number(client: FlaskClient, launch: Callable[..., str], db: Database, conn: psycopg.Connection[Any], engine: Any) -> None:
    turned = "invoice\u202egpj.exe"
    task_id = launch(initiator=turned, tags=(turned,))
    engine.fail(task_id, "validate")
    conn.execute("update tasker_step set error = jsonb_set(error, '{message}', to_jsonb(%s::text)) where error is not null", [turned])
    conn.execute("update tasker_task set context = jsonb_set(context, '{note}', to_jsonb(%s::text))", [turned])
    for page, count in ((f"/tasks/{task_id}", 3), ("/tasks", 2), (f"/tasks/{task_id}/steps/validate", 1), ("/failures", 1)):
        assert client.get(page).text.count("invoice⟨U+202E⟩gpj.exe") >= count, page
    echoed = client.get("/search", query_string={"q": turned}).text
    assert "<h1>What bears “invoice⟨U+202E⟩gpj.exe”</h1>" in echoed
    assert f"tag={quote(turned)}" in client.get(f"/tasks/{task_id}").text  # what is asked for is what was written
