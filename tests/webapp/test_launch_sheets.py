"""Many tasks from a CSV file: nothing is made of a file with a fault, and a form that is sent twice makes its tasks once."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient
from signed_in import token_of
from werkzeug.test import TestResponse

from engine import tasks
from engine.db import Database

WHERE = "/workflows/shop/process_order/1.0.0/launch/rows"
Post = Callable[..., TestResponse]


def uploaded(client: FlaskClient, content: bytes, **fields: str) -> TestResponse:
    return client.post(WHERE, data={"csrf_token": token_of(client.get(WHERE).text), "file": (io.BytesIO(content), "orders.csv"), **fields}, content_type="multipart/form-data")


def made(db: Database) -> int:
    return int(db.value("select count(*) from tasker_task"))


def test_a_file_is_checked_shown_and_launched_and_its_tasks_are_followed(client: FlaskClient, post: Post, db: Database, definition_id: int, engine: Any) -> None:
    faulty = uploaded(client, b"order_id,speed\n1,normal\nmany,high\n3,<b>warp</b>\n")
    assert faulty.status_code == 422
    assert "2 things to correct" in faulty.text
    assert re.search(r'class="number">3</td><td>order_id</td>', faulty.text)
    assert "<b>warp" not in faulty.text
    assert made(db) == 0

    shown = uploaded(client, b"\xef\xbb\xbforder_id;speed\n1;normal\n2;high\n3;\n", reason="the week's orders")
    assert "Launch 3 tasks" in shown.text
    assert "{&#34;order_id&#34;: 2, &#34;speed&#34;: &#34;high&#34;}" in shown.text
    assert made(db) == 0

    token = re.findall(r'name="token" value="([^"]+)"', shown.text)[0]
    fields = {"rows": "order_id;speed\n1;normal\n2;high\n3;\n", "token": token, "reason": "the week's orders", "_launch": "1"}
    first = post(WHERE, **fields)
    assert first.status_code == 303
    assert post(WHERE, **fields).headers["Location"] == first.headers["Location"]
    assert made(db) == 3
    page = client.get(first.headers["Location"]).text
    assert "Nothing new was launched" in page
    assert "0 of 3 tasks ended" in page
    assert {row[0] for row in db.rows("select reason from tasker_task")} == {"the week's orders"}
    assert db.value("select context from tasker_task order by task_no desc limit 1") == {"order_id": 3, "speed": "normal"}

    changed = post(WHERE, **{**fields, "rows": "order_id\n1\n9\n"})
    assert changed.status_code == 409
    assert made(db) == 3

    [task_id] = [str(row[0]) for row in db.rows("select task_id from tasker_task order by task_no limit 1")]
    tasks.cancel_task(db, task_id, actor="tests")
    region = client.get(first.headers["Location"], headers={"HX-Request": "true"}).text
    assert "1 of 3 tasks ended" in region
    assert "<html" not in region


def test_rows_have_keys_tags_and_priorities_of_their_own_and_a_known_key_makes_no_second_task(post: Post, db: Database, definition_id: int) -> None:
    rows = 'order_id,task:idempotency_key,task:tags,task:priority\n1,inv-1,"eu, vip",7\n2,,,\n'
    assert "key inv-1, tags eu vip, priority 7" in post(WHERE, rows=rows).text
    assert post(WHERE, rows=rows, _launch="1").status_code == 303
    known = [(tags[:-1], priority) for tags, priority in db.rows("select tags, priority from tasker_task order by task_no")]
    assert known == [(["eu", "vip"], 7), ([], 0)]
    assert db.value("select count(*) from tasker_request_key where key = 'inv-1'") == 1
    more = rows.replace("2,,,", "3,inv-3,,")
    look = post(WHERE, rows=more).text
    assert "1 row has a key that was used before, such as inv-1" in look
    assert "Launch 1 task<" in look
    assert post(WHERE, rows=more, _launch="1").status_code == 303
    nothing = post(WHERE, rows=more, _launch="1")
    assert (nothing.status_code, "Every row has a key" in nothing.text) == (409, True)
    assert made(db) == 3


def test_a_file_that_is_no_text_or_none_at_all_is_refused_kindly(client: FlaskClient, post: Post, db: Database, definition_id: int) -> None:
    assert "not text in UTF-8" in uploaded(client, b"order_id\n\xff\xfe").text
    assert "Choose a CSV file" in post(WHERE).text
    assert "1 thing to correct" in post(WHERE, rows="order_id", _launch="1").text
    assert client.get(f"{WHERE}/rows-0123456789ab").status_code == 404
    assert made(db) == 0
