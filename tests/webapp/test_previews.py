"""What an action would do is shown first, on the graph and in words; then exactly that is done, or nothing."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from engine import TaskRequest, Workflow, queries, steps, tasks
from engine.db import Database

Launch = Callable[..., str]
Post = Callable[..., TestResponse]
Send = Callable[..., TestResponse]

STEP_NOUNS = ["retry", "cancellation", "skip", "resolution", "downstream-retry"]
TASK_NOUNS = ["retry", "cancellation", "pause", "resumption"]


def section(page: str, begin: str, end: str) -> str:
    return page[page.index(begin) : page.index(end, page.index(begin))]


def listed(page: str, effect: str) -> list[str]:
    """The steps that stand under the heading of an effect."""
    found = section(page, f'id="effect-{effect}"', "</section>") if f'id="effect-{effect}"' in page else ""
    return re.findall(r'<li><a href="[^"]*">([^<]+)</a>', found)


def token(page: str) -> str:
    return str(re.findall(r'name="seen" value="(\w+)"', page)[0])


def states(db: Database, task_id: str) -> dict[str, str]:
    return {step.name: step.state for step in queries.task(db, task_id).steps}


@pytest.fixture
def done_task(launch: Launch, engine: Any) -> str:
    task_id = launch()
    engine.complete(task_id, "validate", "charge", "reserve", "ship", result={"ok": 1})
    return task_id


@pytest.fixture
def decision_task(db: Database) -> str:
    flow = Workflow("route", namespace="shop", version="1.0.0")
    flow.define("choose", decision=True, handler_class="flows.choose")
    flow.define("left", depends_on_step="choose")
    flow.define("right", depends_on_step="choose")
    tasks.register_definition(db, flow.definition)
    return tasks.submit(db, TaskRequest("route", "shop"))


# ---- each action shows what it will do, and then does it


@pytest.mark.parametrize(
    ("noun", "effects", "becomes"),
    [
        ("retry", {"reset": ["charge"], "unblocked": ["ship"], "kept": ["validate", "reserve"]}, "goes on and becomes running"),
        ("skip", {"skipped": ["charge"], "unblocked": ["ship"], "kept": ["validate", "reserve"]}, "goes on and becomes running"),
        ("resolution", {"resolved": ["charge"], "unblocked": ["ship"], "kept": ["validate", "reserve"]}, "goes on and becomes running"),
        ("downstream-retry", {"reset": ["charge"], "unblocked": ["ship"], "kept": ["validate", "reserve"]}, "goes on and becomes running"),
    ],
)
def test_a_failed_step_shows_what_leads_it_out(
    client: FlaskClient, post: Post, db: Database, failed_task: str, noun: str, effects: dict[str, list[str]], becomes: str
) -> None:
    before = states(db, failed_task)
    page = client.get(f"/tasks/{failed_task}/steps/charge/preview/{noun}").text
    assert {effect: listed(page, effect) for effect in effects} == effects
    assert f"The task {becomes}." in page
    assert states(db, failed_task) == before
    done = post(f"/tasks/{failed_task}/steps/charge/{noun}", seen=token(page), reason="seen it")
    assert done.status_code == 303
    assert {name for name, state in states(db, failed_task).items() if state != before[name]} >= {"charge"}
    assert "seen it" in {move.reason for move in queries.activity(db, failed_task)}


def test_the_cancellation_of_a_step_shows_what_goes_with_it(client: FlaskClient, post: Post, db: Database, launch: Launch) -> None:
    task_id = launch()
    page = client.get(f"/tasks/{task_id}/steps/charge/preview/cancellation").text
    assert listed(page, "cancelled") == ["charge", "ship"]
    assert "2 steps will be cancelled, 2 steps will stay. The task stays pending." in page
    assert post(f"/tasks/{task_id}/steps/charge/cancellation", seen=token(page)).location == f"/tasks/{task_id}/steps/charge"
    assert states(db, task_id) == {"validate": "ready", "charge": "cancelled", "reserve": "pending", "ship": "cancelled"}


def test_the_cancellation_of_a_task_tells_what_is_asked_to_stop(client: FlaskClient, launch: Launch, engine: Any) -> None:
    task_id = launch()
    engine.claim()
    page = client.get(f"/tasks/{task_id}/preview/cancellation").text
    assert listed(page, "stopping") == ["validate"]
    assert listed(page, "cancelled") == ["charge", "reserve", "ship"]
    assert "The task stays running until what runs has stopped, and is cancelled then." in page


def test_pause_and_resumption_show_what_is_held_and_released(client: FlaskClient, post: Post, db: Database, launch: Launch) -> None:
    task_id = launch()
    page = client.get(f"/tasks/{task_id}/preview/pause").text
    assert listed(page, "held") == ["validate", "charge", "reserve", "ship"]
    assert post(f"/tasks/{task_id}/pause", seen=token(page), reason="stocktaking").status_code == 303
    assert queries.task_row(db, task_id).paused
    page = client.get(f"/tasks/{task_id}/preview/resumption").text
    assert "The task stays pending and is no longer paused." in page
    assert post(f"/tasks/{task_id}/resumption", seen=token(page)).status_code == 303
    assert not queries.task_row(db, task_id).paused


def test_a_retry_of_all_failed_steps_is_shown_before(client: FlaskClient, failed_task: str) -> None:
    page = client.get(f"/tasks/{failed_task}/preview/retry").text
    assert "Retry the failed steps of process_order" in page
    assert listed(page, "reset") == ["charge"]


def test_the_graph_marks_the_affected_steps(client: FlaskClient, failed_task: str) -> None:
    page = client.get(f"/tasks/{failed_task}/steps/charge/preview/skip").text
    assert re.search(r'class="node state-failed effect effect-skipped" data-step="charge"', page)
    assert re.search(r'class="node state-completed effect effect-kept" data-step="validate"', page)
    assert "Failed → Skipped" in page
    assert "Pending → Ready" in page


def test_in_a_paused_task_it_says_that_nothing_starts(client: FlaskClient, db: Database, launch: Launch, engine: Any) -> None:
    task_id = launch()
    engine.claim()
    engine.fail(task_id, "validate", retryable=True, delay=60)
    tasks.pause_task(db, task_id, actor="ada")
    page = client.get(f"/tasks/{task_id}/steps/validate/preview/retry").text
    assert "It is paused: nothing starts before it is resumed." in page


# ---- where it is reached


def test_only_a_retry_acts_at_once_and_its_preview_is_a_link(client: FlaskClient, failed_task: str) -> None:
    page = client.get(f"/tasks/{failed_task}/steps/charge").text
    assert f'formaction="/tasks/{failed_task}/steps/charge/retry"' in page
    assert f'href="/tasks/{failed_task}/steps/charge/preview/retry"' in page
    for noun in ("skip", "resolution"):
        assert f'formaction="/tasks/{failed_task}/steps/charge/preview/{noun}"' in page
        assert f'"/tasks/{failed_task}/steps/charge/{noun}"' not in page
    task = client.get(f"/tasks/{failed_task}").text
    assert f'href="/tasks/{failed_task}/preview/retry"' in task
    assert f'formaction="/tasks/{failed_task}/steps/charge/preview/skip"' in task


def test_a_reason_typed_before_is_on_the_page(post: Post, db: Database, failed_task: str) -> None:
    page = post(f"/tasks/{failed_task}/steps/charge/preview/skip", reason="no <address>").text
    assert 'value="no &lt;address&gt;"' in page
    assert states(db, failed_task)["charge"] == "failed"


def test_the_step_page_leads_to_the_downstream_retry_once_it_has_ended(client: FlaskClient, launch: Launch, done_task: str) -> None:
    assert f'href="/tasks/{done_task}/steps/charge/downstream-retry"' in client.get(f"/tasks/{done_task}/steps/charge").text
    assert "downstream-retry" not in client.get(f"/tasks/{launch()}/steps/charge").text


# ---- stale, impossible, unknown


@pytest.mark.parametrize(("noun", "fields"), [("retry", {}), ("cancellation", {}), ("skip", {}), ("resolution", {"result": "1"})])
def test_a_page_whose_step_has_changed_shows_the_new_preview_and_does_nothing(
    client: FlaskClient, post: Post, db: Database, launch: Launch, engine: Any, noun: str, fields: dict[str, str]
) -> None:
    task_id = launch()
    engine.complete(task_id, "validate")
    engine.fail(task_id, "charge", retryable=True, delay=3600)
    seen = token(client.get(f"/tasks/{task_id}/steps/charge/preview/{noun}").text)
    steps.retry_step(db, task_id, "charge", actor="ada")
    engine.fail(task_id, "charge", retryable=True, delay=3600)
    before = queries.activity(db, task_id)
    answered = post(f"/tasks/{task_id}/steps/charge/{noun}", seen=seen, reason="typed <before>", **fields)
    assert answered.status_code == 409
    assert "The task has changed since you looked, and nothing was done." in answered.text
    assert 'value="typed &lt;before&gt;"' in answered.text
    assert queries.activity(db, task_id) == before
    assert post(f"/tasks/{task_id}/steps/charge/{noun}", seen=token(answered.text), **fields).status_code == 303


def test_what_changes_elsewhere_makes_no_page_stale(client: FlaskClient, post: Post, launch: Launch, engine: Any) -> None:
    task_id = launch()
    engine.complete(task_id, "validate")
    engine.fail(task_id, "charge")
    seen = token(client.get(f"/tasks/{task_id}/steps/charge/preview/retry").text)
    engine.complete(task_id, "reserve")
    assert post(f"/tasks/{task_id}/steps/charge/retry", seen=seen).status_code == 409, "reserve has ended, and so the task had failed"
    seen = token(client.get(f"/tasks/{task_id}/steps/charge/preview/retry").text)
    assert post(f"/tasks/{task_id}/notes", note="seen").status_code == 303
    assert post(f"/tasks/{task_id}/steps/charge/retry", seen=seen).status_code == 303


def test_a_task_that_changes_all_the_time_can_be_cancelled_whatever_changes(client: FlaskClient, post: Post, launch: Launch, engine: Any) -> None:
    task_id = launch()
    seen = token(client.get(f"/tasks/{task_id}/preview/cancellation").text)
    engine.complete(task_id, "validate")
    stale = post(f"/tasks/{task_id}/cancellation", seen=seen)
    assert stale.status_code == 409
    assert "Cancel, whatever changes meanwhile" in stale.text
    engine.complete(task_id, "reserve")
    assert post(f"/tasks/{task_id}/cancellation", seen=token(stale.text), anyway="1").status_code == 303
    assert engine.state(task_id, "ship") == "cancelled"


def test_what_cannot_be_done_says_why_and_offers_no_button(client: FlaskClient, post: Post, launch: Launch, engine: Any) -> None:
    task_id = launch()
    engine.complete(task_id, "validate")
    engine.claim()
    page = client.get(f"/tasks/{task_id}/steps/validate/downstream-retry").text
    assert "This cannot be done now. Still running: charge, reserve; wait for it, or cancel it first." in page
    assert 'name="seen"' not in page
    assert post(f"/tasks/{task_id}/steps/validate/downstream-retry").status_code == 409
    assert "The step is completed" in client.get(f"/tasks/{task_id}/steps/validate/preview/skip").text


def test_previews_of_what_is_not_there_are_not_found(client: FlaskClient, post: Post, done_task: str) -> None:
    for noun in STEP_NOUNS:
        assert client.get(f"/tasks/{done_task}/steps/nothing/preview/{noun}").status_code == 404
        assert client.get(f"/tasks/{uuid4()}/steps/charge/preview/{noun}").status_code == 404
    for noun in TASK_NOUNS:
        assert client.get(f"/tasks/{uuid4()}/preview/{noun}").status_code == 404
    assert client.get(f"/tasks/{done_task}/preview/nonsense").status_code == 404
    assert client.get(f"/tasks/{done_task}/steps/nothing/downstream-retry").status_code == 404
    assert post(f"/tasks/{done_task}/steps/nothing/downstream-retry").status_code == 404


def test_without_its_token_nothing_happens(client: FlaskClient, failed_task: str, engine: Any) -> None:
    assert client.post(f"/tasks/{failed_task}/steps/charge/skip", data={"seen": "x"}).status_code == 403
    assert engine.state(failed_task, "charge") == "failed"


# ---- with everything downstream, and with another context


def test_a_downstream_retry_shows_what_runs_again_and_what_stays(client: FlaskClient, done_task: str) -> None:
    page = client.get(f"/tasks/{done_task}/steps/charge/downstream-retry").text
    assert (listed(page, "reset"), listed(page, "kept")) == (["charge", "ship"], ["validate", "reserve"])
    assert "2 steps will run again" in page
    assert "&#34;order_id&#34;: 7" in page


def test_what_was_shown_is_what_happens(client: FlaskClient, post: Post, db: Database, done_task: str) -> None:
    seen = token(client.get(f"/tasks/{done_task}/steps/charge/downstream-retry").text)
    answered = post(f"/tasks/{done_task}/steps/charge/downstream-retry", seen=seen, reason="wrong card", context='{"order_id": 8}')
    assert (answered.status_code, answered.location) == (303, f"/tasks/{done_task}")
    assert states(db, done_task) == {"validate": "completed", "charge": "ready", "reserve": "completed", "ship": "pending"}
    assert queries.task(db, done_task).context["order_id"] == 8
    page = client.get(f"/tasks/{done_task}").text
    assert "is to run again" in page
    assert "got another context" in page
    assert "wrong card" in page


def test_a_page_that_is_out_of_date_is_told_so(post: Post, db: Database, done_task: str) -> None:
    answered = post(f"/tasks/{done_task}/steps/charge/downstream-retry", seen="completed yesterday", context='{"order_id": 9}')
    assert answered.status_code == 409
    assert "has changed since you looked" in answered.text
    assert "&#34;order_id&#34;: 9" in answered.text
    assert set(states(db, done_task).values()) == {"completed"}
    assert queries.task(db, done_task).context["order_id"] == 7


@pytest.mark.parametrize("context", ["{", "[]", '{"order_id": "seven"}', '{"order_id": NaN}'])
def test_a_context_that_cannot_be_is_refused_and_what_was_typed_kept(post: Post, db: Database, done_task: str, context: str) -> None:
    answered = post(f"/tasks/{done_task}/steps/charge/downstream-retry", context=context, reason="because")
    assert answered.status_code == 422
    assert "The context cannot be taken" in section(answered.text, 'id="context-error"', "</p>")
    assert context in html.unescape(answered.text)
    assert 'value="because"' in answered.text
    assert set(states(db, done_task).values()) == {"completed"}


# ---- results


@pytest.mark.parametrize("text", ["{", "NaN", "[" * 5000, '{"a": 1, "a": 2}'])
def test_a_result_that_is_no_json_is_told_beside_its_field(client: FlaskClient, post: Post, failed_task: str, engine: Any, text: str) -> None:
    seen = token(client.get(f"/tasks/{failed_task}/steps/charge/preview/resolution").text)
    answered = post(f"/tasks/{failed_task}/steps/charge/resolution", seen=seen, result=text, reason="paid by phone")
    assert answered.status_code == 422
    assert "The result cannot be taken" in section(answered.text, 'id="result-error"', "</p>")
    assert 'aria-invalid=true autofocus>' + text in html.unescape(answered.text)
    assert 'value="paid by phone"' in answered.text
    assert engine.state(failed_task, "charge") == "failed"


def test_another_result_of_a_decision_is_shown_before_it_is_taken(client: FlaskClient, post: Post, db: Database, decision_task: str) -> None:
    path = f"/tasks/{decision_task}/steps/choose"
    first = client.get(f"{path}/preview/resolution").text
    assert (listed(first, "unblocked"), listed(first, "skipped")) == (["left", "right"], [])
    other = post(f"{path}/resolution", seen=token(first), result='["left"]', looked_at=json.dumps(["left", "right"], indent=2))
    assert other.status_code == 409
    assert "leads to other steps than were shown" in other.text
    assert (listed(other.text, "unblocked"), listed(other.text, "skipped")) == (["left"], ["right"])
    assert states(db, decision_task)["choose"] == "ready"
    assert post(f"{path}/resolution", seen=token(other.text), result='["left"]', looked_at='["left"]').status_code == 303
    assert states(db, decision_task) == {"choose": "resolved", "left": "ready", "right": "skipped"}


def test_a_result_can_be_tried_before(post: Post, decision_task: str) -> None:
    page = post(f"/tasks/{decision_task}/steps/choose/preview/resolution", result='["right"]').text
    assert (listed(page, "unblocked"), listed(page, "skipped")) == (["right"], ["left"])


# ---- pausing by the bare noun


def test_a_task_is_paused_and_resumed_by_its_nouns(client: FlaskClient, post: Post, launch: Launch) -> None:
    task_id = launch()
    assert f'formaction="/tasks/{task_id}/preview/pause"' in client.get(f"/tasks/{task_id}").text
    assert post(f"/tasks/{task_id}/pause", reason="stocktaking").status_code == 303
    page = client.get(f"/tasks/{task_id}").text
    assert "It is paused: running steps finish, nothing new starts." in page
    assert f'formaction="/tasks/{task_id}/preview/resumption"' in page
    assert "was paused" in page
    assert "stocktaking" in page
    assert post(f"/tasks/{task_id}/pause").status_code == 409
    assert post(f"/tasks/{task_id}/resumption").status_code == 303
    assert "was resumed" in client.get(f"/tasks/{task_id}").text
    assert post(f"/tasks/{uuid4()}/pause").status_code == 404
