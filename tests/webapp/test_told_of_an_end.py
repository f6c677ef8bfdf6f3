"""The page of a task says what was told of its end, and what came of that, to those who may change the task."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from signed_in import session_of
from werkzeug.test import TestResponse

from engine import tasks
from engine.db import Database
from engine.errors import PermanentError, RetryableError
from engine.outgoing import followers, notices
from webapp.access import COOKIE

GOING = threading.Event()


def test_what_was_told_of_an_end_is_shown_with_what_came_of_it(app: Flask, client: FlaskClient, post: Callable[..., TestResponse], db: Database, launch: Callable[..., str]) -> None:
    task_id = launch()
    for target in ("ada@example.com", "gone@example.com"):
        assert post(f"/tasks/{task_id}/followers", channel="email", target=target).status_code == 303
    assert "What was told" not in client.get(f"/tasks/{task_id}").text
    tasks.cancel_task(db, task_id, actor="tests")
    followers.tell_ended(db, GOING)
    assert client.get(f"/tasks/{task_id}").text.count("To be told") == 2

    def refuse(notice: Any) -> None:
        raise PermanentError("no such mailbox") if notice.target.startswith("gone") else RetryableError("the mail server is <away>")

    notices.deliver_due(db, {"email": refuse}, GOING)
    shown = client.get(f"/tasks/{task_id}").text
    for words in ("What was told of its end (2)", "Will be tried again", "the mail server is &lt;away&gt;", "Given up", "no such mailbox"):
        assert words in shown
    viewer = FlaskClient(app)
    viewer.set_cookie(COOKIE, session_of(app.config["DATABASE_URL"], "looker", "viewer"))
    assert "example.com" not in viewer.get(f"/tasks/{task_id}").text
