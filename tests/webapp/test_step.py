"""`/tasks/<id>/steps/<step>` and its actions: works, wrong state, twice, unknown id, plain form and htmx."""

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
NOUNS = ["retry", "cancellation", "skip", "resolution"]


def test_a_failed_step_shows_its_error_attempts_and_relatives(client: FlaskClient, failed_task: str) -> None:
    page = client.get(f"/tasks/{failed_task}/steps/charge").text
    assert "GatewayTimeout" in page
    assert "no answer &lt;b&gt;in&lt;/b&gt; time" in page
    assert "<summary>Traceback</summary>" in page
    assert "test engine" in page
    assert f'href="/tasks/{failed_task}/steps/validate"' in page
    assert f'href="/tasks/{failed_task}/steps/ship"' in page


def test_a_completed_step_shows_its_result_to_itself_and_its_children(
    client: FlaskClient, launch: Launch, engine: Any
) -> None:
    task_id = launch()
    engine.complete(task_id, "validate", result={"payment_id": "pay_1"})
    for step in ("validate", "charge"):
        assert "pay_1" in client.get(f"/tasks/{task_id}/steps/{step}").text


def test_steps_that_do_not_exist_are_not_found(client: FlaskClient, failed_task: str) -> None:
    for path in (f"/tasks/{failed_task}/steps/nothing", f"/tasks/{uuid4()}/steps/charge", "/tasks/x/steps/charge"):
        assert client.get(path).status_code == 404


def test_htmx_gets_the_regions(client: FlaskClient, failed_task: str) -> None:
    regions = client.get(f"/tasks/{failed_task}/steps/charge", headers={"HX-Request": "true"}).text
    for region in ("step-state", "step-outcome", "step-relatives"):
        assert f'id="{region}"' in regions
    assert "<html" not in regions


@pytest.mark.parametrize(("noun", "state"), [("retry", "ready"), ("skip", "skipped"), ("resolution", "resolved")])
def test_an_action_leads_a_step_out_of_failed(
    post: Post, db: Database, failed_task: str, engine: Any, noun: str, state: str
) -> None:
    answer = post(f"/tasks/{failed_task}/steps/charge/{noun}", reason="Checked by hand", result='{"payment_id": 1}')
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"/tasks/{failed_task}/steps/charge"
    assert engine.state(failed_task, "charge") == state
    assert any(
        move.reason == "Checked by hand" and move.actor == "dashboard" for move in queries.activity(db, failed_task)
    )


def test_a_step_is_cancelled_with_what_waits_for_it(post: Post, launch: Launch, engine: Any) -> None:
    task_id = launch()
    assert post(f"/tasks/{task_id}/steps/charge/cancellation").status_code == 303
    assert engine.state(task_id, "charge") == engine.state(task_id, "ship") == "cancelled"
    assert engine.state(task_id, "reserve") == "pending"


def test_a_resolution_is_the_result_of_the_step(post: Post, db: Database, failed_task: str) -> None:
    post(f"/tasks/{failed_task}/steps/charge/resolution", result='{"payment_id": [1, null]}')
    assert queries.step(db, failed_task, "charge").result == {"payment_id": [1, None]}


@pytest.mark.parametrize("htmx", [False, True])
@pytest.mark.parametrize("text", ["{", "NaN", "yes", "Infinity"])
def test_a_result_that_is_not_json_is_refused(post: Post, failed_task: str, engine: Any, text: str, htmx: bool) -> None:
    answer = post(f"/tasks/{failed_task}/steps/charge/resolution", result=text, htmx=htmx)
    assert answer.status_code == 422
    assert "The result cannot be taken" in answer.text
    assert engine.state(failed_task, "charge") == "failed"


def test_what_was_typed_as_a_result_is_not_lost(post: Post, failed_task: str) -> None:
    answer = post(f"/tasks/{failed_task}/steps/charge/resolution", result='{"half": ')
    assert "{&#34;half&#34;:" in answer.text


@pytest.mark.parametrize("htmx", [False, True])
@pytest.mark.parametrize("noun", NOUNS)
def test_an_action_on_a_completed_step_shows_the_newer_state(
    post: Post, failed_task: str, noun: str, htmx: bool
) -> None:
    answer = post(f"/tasks/{failed_task}/steps/validate/{noun}", result="1", htmx=htmx)
    assert answer.status_code == 409
    assert "state state-completed state-big" in answer.text
    assert ("<html" in answer.text) is not htmx


@pytest.mark.parametrize("noun", ["skip", "resolution", "retry"])
def test_the_same_action_twice_is_refused_the_second_time(post: Post, failed_task: str, noun: str) -> None:
    assert post(f"/tasks/{failed_task}/steps/charge/{noun}", result="1").status_code == 303
    assert post(f"/tasks/{failed_task}/steps/charge/{noun}", result="1").status_code == 409


@pytest.mark.parametrize("noun", NOUNS)
def test_actions_on_what_does_not_exist_are_not_found(post: Post, failed_task: str, noun: str) -> None:
    assert post(f"/tasks/{failed_task}/steps/nothing/{noun}").status_code == 404
    assert post(f"/tasks/{uuid4()}/steps/charge/{noun}").status_code == 404


@pytest.mark.parametrize("noun", NOUNS)
def test_without_its_token_nothing_happens(client: FlaskClient, failed_task: str, engine: Any, noun: str) -> None:
    assert client.post(f"/tasks/{failed_task}/steps/charge/{noun}").status_code == 403
    assert engine.state(failed_task, "charge") == "failed"


def test_an_action_from_the_table_answers_with_the_task(post: Post, failed_task: str) -> None:
    plain = post(f"/tasks/{failed_task}/steps/charge/retry", back="task")
    assert plain.headers["Location"] == f"/tasks/{failed_task}"
    late = post(f"/tasks/{failed_task}/steps/charge/retry", back="task", htmx=True)
    assert late.status_code == 409
    assert 'id="task-steps"' in late.text


def test_only_what_can_be_done_has_a_button(client: FlaskClient, failed_task: str) -> None:
    failed = client.get(f"/tasks/{failed_task}/steps/charge").text
    assert all(f">{verb}</button>" in failed for verb in ("Retry", "Skip", "Resolve"))
    assert ">Cancel</button>" not in failed
    assert 'id="act"' not in client.get(f"/tasks/{failed_task}/steps/validate").text
