"""`/tasks/<id>/steps/<step>/downstream-retry`: what would run again is shown first, then done; and pausing a task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from engine import queries
from engine.db import Database

Launch = Callable[..., str]
Post = Callable[..., TestResponse]


def section(page: str, begin: str, end: str) -> str:
    return page[page.index(begin) : page.index(end, page.index(begin))]


@pytest.fixture
def done_task(launch: Launch, engine: Any) -> str:
    task_id = launch()
    engine.complete(task_id, "validate", "charge", "reserve", "ship", result={"ok": 1})
    return task_id


def states(db: Database, task_id: str) -> dict[str, str]:
    return {step.name: step.state for step in queries.task(db, task_id).steps}


def test_the_step_page_leads_to_it_once_the_step_has_ended(client: FlaskClient, launch: Launch, done_task: str) -> None:
    assert f'href="/tasks/{done_task}/steps/charge/downstream-retry"' in client.get(f"/tasks/{done_task}/steps/charge").text
    assert "downstream-retry" not in client.get(f"/tasks/{launch()}/steps/charge").text


def test_it_shows_what_runs_again_and_what_stays(client: FlaskClient, done_task: str) -> None:
    page = client.get(f"/tasks/{done_task}/steps/charge/downstream-retry").text
    again, kept = section(page, "Will run again", "Will stay"), section(page, "Will stay", "</section>")
    assert "charge" in again
    assert "ship" in again
    assert "validate" in kept
    assert "reserve" in kept
    assert "2 steps will run again" in page
    assert "&#34;order_id&#34;: 7" in page


def test_what_was_shown_is_what_happens(client: FlaskClient, post: Post, db: Database, done_task: str) -> None:
    answered = post(f"/tasks/{done_task}/steps/charge/downstream-retry", reason="wrong card", context='{"order_id": 8}')
    assert (answered.status_code, answered.location) == (303, f"/tasks/{done_task}")
    assert states(db, done_task) == {"validate": "completed", "charge": "ready", "reserve": "completed", "ship": "pending"}
    assert queries.task(db, done_task).context["order_id"] == 8
    page = client.get(f"/tasks/{done_task}").text
    assert "is to run again" in page
    assert "got another context" in page
    assert "wrong card" in page


def test_a_page_that_is_out_of_date_is_told_so(client: FlaskClient, post: Post, db: Database, done_task: str) -> None:
    answered = post(f"/tasks/{done_task}/steps/charge/downstream-retry", seen="completed yesterday")
    assert answered.status_code == 409
    assert "has changed since you looked" in answered.text
    assert set(states(db, done_task).values()) == {"completed"}


@pytest.mark.parametrize("context", ["{", "[]", '{"order_id": "seven"}', '{"order_id": NaN}'])
def test_a_context_that_cannot_be_is_refused_and_what_was_typed_kept(post: Post, db: Database, done_task: str, context: str) -> None:
    answered = post(f"/tasks/{done_task}/steps/charge/downstream-retry", context=context)
    assert answered.status_code == 422
    assert "The context cannot be taken" in answered.text
    assert context.replace('"', "&#34;") in answered.text
    assert set(states(db, done_task).values()) == {"completed"}


def test_while_something_runs_it_says_what_to_wait_for(client: FlaskClient, post: Post, launch: Launch, engine: Any) -> None:
    task_id = launch()
    engine.complete(task_id, "validate")
    engine.claim()
    page = client.get(f"/tasks/{task_id}/steps/validate/downstream-retry").text
    assert "Wait until charge and reserve have ended, or cancel the task." in page
    assert "<form method" not in page
    assert post(f"/tasks/{task_id}/steps/validate/downstream-retry").status_code == 409


def test_a_step_that_is_not_there_is_not_found(client: FlaskClient, post: Post, done_task: str) -> None:
    for task_id, step in ((done_task, "nothing"), (uuid4(), "charge")):
        assert client.get(f"/tasks/{task_id}/steps/{step}/downstream-retry").status_code == 404
        assert post(f"/tasks/{task_id}/steps/{step}/downstream-retry").status_code == 404


def test_a_task_is_paused_and_resumed_by_its_buttons(client: FlaskClient, post: Post, launch: Launch) -> None:
    task_id = launch()
    assert f'formaction="/tasks/{task_id}/pause"' in client.get(f"/tasks/{task_id}").text
    assert post(f"/tasks/{task_id}/pause", reason="stocktaking").status_code == 303
    page = client.get(f"/tasks/{task_id}").text
    assert "It is paused: running steps finish, nothing new starts." in page
    assert f'formaction="/tasks/{task_id}/resumption"' in page
    assert "was paused" in page
    assert "stocktaking" in page
    assert post(f"/tasks/{task_id}/pause").status_code == 409
    assert post(f"/tasks/{task_id}/resumption").status_code == 303
    assert "was resumed" in client.get(f"/tasks/{task_id}").text
    assert post(f"/tasks/{uuid4()}/pause").status_code == 404
