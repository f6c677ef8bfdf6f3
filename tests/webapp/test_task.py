"""`/tasks/<id>` and its actions: works, wrong state, twice, unknown id, plain form and htmx."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from engine import queries, tasks
from engine.db import Database
from webapp.contexts import ACTIVITY_SHOWN

Launch = Callable[..., str]
Post = Callable[..., TestResponse]


def test_a_task_shows_state_graph_steps_context_and_activity(client: FlaskClient, failed_task: str) -> None:
    page = client.get(f"/tasks/{failed_task}").text
    assert 'class="state state-failed state-big"' in page
    assert "charge failed: no answer &lt;b&gt;in&lt;/b&gt; time. 1 step waits behind it." in page
    assert page.count('class="node state-') == 4
    assert f'href="/tasks/{failed_task}/steps/charge" class="node state-failed critical"' in page
    assert '<tr id="step-1" class="row-failed" data-step="charge">' in page
    assert "order_id" in page
    assert re.search(r"charge</a>\s+failed, attempt 1", page)


def test_times_are_told_by_the_clock_of_the_reader(client: FlaskClient, failed_task: str, conn: Any) -> None:
    conn.execute("update tasker_task set created_at = '2020-01-31 23:30:15Z'")
    for zone, told, day in (("Asia/Tokyo", "01 Feb 08:30:15", "2020-02-01"), ("America/Lima", "31 Jan 18:30:15", "2020-01-31")):
        client.set_cookie("zone", zone)
        [(local,)] = conn.execute("select to_char(created_at at time zone %s, 'DD Mon HH24:MI:SS') from tasker_task", [zone]).fetchall()
        assert local == told
        created = '<time datetime="2020-01-31T23:30:15.000000Z" data-form="{}" title="2020-01-31 23:30:15 UTC">{}</time>'
        assert f"<dt>Created</dt><dd>{created.format('full', told)}</dd>" in client.get(f"/tasks/{failed_task}").text
        assert created.format("short", day) in client.get("/tasks").text


def test_a_graph_node_carries_name_and_state_as_text(client: FlaskClient, failed_task: str) -> None:
    page = client.get(f"/tasks/{failed_task}").text
    node = page[page.index('data-step="ship"') :][:900]
    assert ">ship</text>" in node
    assert ">Pending</text>" in node


def test_a_running_task_tells_what_runs(client: FlaskClient, launch: Launch, engine: Any) -> None:
    task_id = launch()
    assert "validate is ready." in client.get(f"/tasks/{task_id}").text
    engine.claim()
    assert "validate is running." in client.get(f"/tasks/{task_id}").text


def test_a_finished_task_is_not_live_and_offers_no_action(client: FlaskClient, launch: Launch, engine: Any) -> None:
    task_id = launch()
    assert f'sse-connect="/live?task={task_id}"' in client.get(f"/tasks/{task_id}").text
    engine.complete(task_id, "validate", "charge", "reserve", "ship")
    page = client.get(f"/tasks/{task_id}").text
    assert "sse-connect" not in page
    assert 'id="act"' not in page


def test_a_task_that_was_told_to_stop_says_so(client: FlaskClient, post: Post, launch: Launch, engine: Any) -> None:
    task_id = launch()
    engine.claim()
    post(f"/tasks/{task_id}/cancellation", reason="enough")
    page = client.get(f"/tasks/{task_id}").text
    assert "It was told to stop and waits for running steps to end." in page
    assert "was asked to stop" in page


def test_a_step_to_be_skipped_says_so(client: FlaskClient, post: Post, launch: Launch) -> None:
    task_id = launch()
    assert post(f"/tasks/{task_id}/steps/ship/skip").status_code == 303
    page = client.get(f"/tasks/{task_id}").text
    assert re.search(r"ship</a>\s+is to be skipped", page)


@pytest.mark.parametrize("error", [None, "{}", '{"type": null, "message": 7}', '{"message": ["odd"], "traceback": 1}'])
def test_an_error_of_any_shape_can_be_shown(
    client: FlaskClient, conn: Any, failed_task: str, error: str | None
) -> None:
    conn.execute("update tasker_step set error = %s::jsonb where state = 5", [error])
    conn.execute("update tasker_history set detail = %s::jsonb where to_state = 5 and step_no is not null", [error])
    assert client.get(f"/tasks/{failed_task}").status_code == 200
    assert client.get(f"/tasks/{failed_task}/steps/charge").status_code == 200


def test_ids_that_name_nothing_are_not_found(client: FlaskClient) -> None:
    for path in (f"/tasks/{uuid4()}", "/tasks/7", "/tasks/nonsense", "/tasks/%00"):
        assert client.get(path).status_code == 404


def test_htmx_gets_the_regions(client: FlaskClient, failed_task: str) -> None:
    regions = client.get(f"/tasks/{failed_task}", headers={"HX-Request": "true"}).text
    for region in ("task-state", "task-graph", "task-steps", "task-children", "task-activity"):
        assert f'id="{region}"' in regions
    assert regions.count('hx-swap-oob="morph"') == 5
    assert "<html" not in regions


def test_a_failed_task_runs_again(post: Post, db: Database, failed_task: str, engine: Any) -> None:
    answer = post(f"/tasks/{failed_task}/retry", reason="The gateway is back")
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"/tasks/{failed_task}"
    assert engine.state(failed_task, "charge") == "ready"
    done = [move for move in queries.activity(db, failed_task) if move.actor]
    assert {move.reason for move in done} == {"The gateway is back"}


def test_what_was_done_is_said_on_the_next_page_once(client: FlaskClient, post: Post, failed_task: str) -> None:
    post(f"/tasks/{failed_task}/retry", reason="again")
    page = client.get(f"/tasks/{failed_task}").text
    assert "The failed steps run again." in page
    assert "“again”" in page
    assert "The failed steps run again." not in client.get(f"/tasks/{failed_task}").text


def test_a_retry_by_htmx_answers_with_the_regions(post: Post, failed_task: str) -> None:
    answer = post(f"/tasks/{failed_task}/retry", htmx=True)
    assert answer.status_code == 200
    assert "The failed steps run again." in answer.text
    assert 'data-step="charge"' in answer.text
    assert "state-ready" in answer.text


def test_an_open_task_is_cancelled(post: Post, launch: Launch, engine: Any) -> None:
    task_id = launch()
    assert post(f"/tasks/{task_id}/cancellation", reason="Ordered twice").status_code == 303
    assert engine.state(task_id) == "cancelled"


@pytest.mark.parametrize("htmx", [False, True])
def test_the_second_cancellation_shows_the_newer_state(post: Post, launch: Launch, htmx: bool) -> None:
    task_id = launch()
    post(f"/tasks/{task_id}/cancellation")
    answer = post(f"/tasks/{task_id}/cancellation", htmx=htmx)
    assert answer.status_code == 409
    assert "The task is cancelled already." in answer.text
    assert "state state-cancelled state-big" in answer.text
    assert ("<html" in answer.text) is not htmx


def test_a_task_without_failure_cannot_be_retried(post: Post, launch: Launch) -> None:
    assert post(f"/tasks/{launch()}/retry").status_code == 409


@pytest.mark.parametrize("noun", ["retry", "cancellation"])
@pytest.mark.parametrize("htmx", [False, True])
def test_actions_on_an_unknown_task_are_not_found(post: Post, noun: str, htmx: bool) -> None:
    assert post(f"/tasks/{uuid4()}/{noun}", htmx=htmx).status_code == 404


@pytest.mark.parametrize("noun", ["retry", "cancellation"])
def test_without_its_token_nothing_happens(client: FlaskClient, failed_task: str, engine: Any, noun: str) -> None:
    answer = client.post(f"/tasks/{failed_task}/{noun}", data={"reason": "none"})
    assert answer.status_code == 403
    assert "This is not allowed" in answer.text
    assert engine.state(failed_task) == "failed"


@pytest.mark.parametrize("noun", ["retry", "cancellation"])
def test_actions_take_only_a_post(client: FlaskClient, failed_task: str, noun: str) -> None:
    answer = client.get(f"/tasks/{failed_task}/{noun}")
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


def test_a_reason_from_outside_stays_a_text(client: FlaskClient, post: Post, failed_task: str) -> None:
    post(f"/tasks/{failed_task}/retry", reason="\x00<script>alert(1)</script>" + "x" * 9000)
    page = client.get(f"/tasks/{failed_task}").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_the_newest_of_a_long_activity_are_shown_and_the_way_to_the_rest(client: FlaskClient, db: Database, launch: Launch) -> None:
    task_id = launch()
    assert "The newest" not in client.get(f"/tasks/{task_id}").text
    for number in range(ACTIVITY_SHOWN + 1):
        tasks.note_task(db, task_id, actor="ada", note=f"note {number}")
    page = client.get(f"/tasks/{task_id}").text
    assert f"note {ACTIVITY_SHOWN}" in page
    assert page.count('<li class="remark"') == ACTIVITY_SHOWN
    assert f"The newest {ACTIVITY_SHOWN} lines." in page
