"""`/tasks/<id>/notes`: a remark stands in the activity and changes nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from engine import queries
from engine.db import Database

Post = Callable[..., TestResponse]


def test_a_note_is_shown_with_its_author_and_moves_nothing(post: Post, client: FlaskClient, failed_task: str, engine: Any) -> None:
    answer = post(f"/tasks/{failed_task}/notes", note="Asked the bank;\nthey look at it <b>today</b>.")
    assert answer.status_code == 303
    page = client.get(f"/tasks/{failed_task}").text
    assert "<strong>dashboard</strong> noted" in page
    assert "they look at it &lt;b&gt;today&lt;/b&gt;." in page
    assert engine.state(failed_task) == "failed"


@pytest.mark.parametrize("ended", [False, True])
def test_a_note_can_be_added_whether_the_task_has_ended_or_not(
    post: Post, db: Database, launch: Callable[..., str], engine: Any, ended: bool
) -> None:
    task_id = launch()
    if ended:
        engine.complete(task_id, "validate", "charge", "reserve", "ship")
    assert post(f"/tasks/{task_id}/notes", note="seen", htmx=True).status_code == 200
    newest = queries.activity(db, task_id)[0]
    assert (newest.is_note, newest.actor, newest.reason, newest.step_name) == (True, "dashboard", "seen", None)


@pytest.mark.parametrize("note", ["", "  \n ", "\x00", "x" * 2001])
def test_a_note_of_no_words_or_too_many_is_refused(post: Post, db: Database, failed_task: str, note: str) -> None:
    before = len(queries.activity(db, failed_task))
    answer = post(f"/tasks/{failed_task}/notes", note=note)
    assert answer.status_code == 422
    assert "A note has 1 to 2,000 characters" in answer.text
    assert len(queries.activity(db, failed_task)) == before


def test_what_was_too_long_is_still_in_the_field(post: Post, failed_task: str) -> None:
    assert f">{'y' * 2001}</textarea>" in post(f"/tasks/{failed_task}/notes", note="y" * 2001).text


def test_an_unknown_task_takes_no_note(post: Post) -> None:
    assert post(f"/tasks/{uuid4()}/notes", note="hello").status_code == 404


def test_without_its_token_no_note_is_kept(client: FlaskClient, failed_task: str) -> None:
    assert client.post(f"/tasks/{failed_task}/notes", data={"note": "hello"}).status_code == 403
