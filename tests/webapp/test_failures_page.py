"""Failures by cause, and one action on many."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from engine import batches
from engine.db import Database
from engine.finding import failure_filter, failures
from webapp import batches as batches_page
from webapp import listing

GOING = threading.Event()
HandEngine, Post = Any, Callable[..., TestResponse]


@pytest.fixture
def many_failed(launch: Callable[..., str], engine: HandEngine) -> list[str]:
    """Three tasks whose charge failed for the same reason."""
    made = [launch(number) for number in range(1, 4)]
    for task_id in made:
        engine.fail(task_id, "validate")
    return made


def test_failures_with_one_cause_are_one_line_with_their_number_and_lead_to_their_tasks(client: FlaskClient, db: Database, many_failed: list[str]) -> None:
    [group] = failures.failure_groups(db)
    page = client.get("/failures").text
    assert page.count("row-failed") == 1
    assert "GatewayTimeout: no answer &lt;b&gt;in&lt;/b&gt; time" in page
    assert "<b>in</b>" not in page

    shown = client.get(f"/failures/{group.key}").text
    assert "3 steps of 3 tasks" in shown
    assert all(f"/tasks/{task_id}/steps/validate" in shown for task_id in many_failed)


def test_what_a_later_run_has_healed_stands_in_a_fold_and_no_longer_in_front(client: FlaskClient, db: Database, launch: Callable[..., str], engine: HandEngine) -> None:
    engine.fail(launch(1), "validate")
    again = launch(1)
    db.value("update tasker_task set correlation_id = 'order-1' returning 1")
    assert "healed by a later run" not in client.get("/failures").text
    for step in ("validate", "charge", "reserve", "ship"):
        engine.complete(again, step)
    page = client.get("/failures").text
    assert "<summary>1 group healed by a later run</summary>" in page
    assert page.index("healed by a later run") < page.index("row-failed")
    [group] = failures.failure_groups(db)
    assert "A later run of the same has done what 1 task had to do." in client.get(f"/failures/{group.key}").text


def test_failures_are_narrowed_and_the_filter_is_kept_as_a_view_with_its_number(client: FlaskClient, post: Post, db: Database, launch: Callable[..., str], engine: HandEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.fail(launch(1), "validate")
    later = launch(2)
    engine.complete(later, "validate")
    engine.fail(later, "charge")
    [group] = [each for each in failures.failure_groups(db) if each.step_name == "charge"]
    failures.keep_note(db, group, failures.FailureNote(owner="Ann of payments"), actor="ann")
    for query, number in (("", 2), ("?step=charge", 1), ("?owner=ANN", 1), ("?error=gatewaytimeout", 2), ("?name=process_order&namespace=shop", 2), ("?error=%25", 0), ("?name=other", 0)):
        assert client.get(f"/failures{query}").text.count("row-failed") == number, query
    assert "No failure is like that" in client.get("/failures?owner=bob").text
    assert client.get("/failures?step=charge&format=ndjson").text.count("\n") == 1

    narrowed = client.get("/failures?owner=ann&step=charge").text
    assert "/views/new?kind=failures&amp;step=charge&amp;owner=ann" in narrowed
    form = client.get("/views/new?kind=failures&owner=ann&step=charge").text
    assert 'name="owner" value="ann"' in form
    where = post("/views", title="Ours", shared="shop", kind="failures", owner="ann", step="charge").headers["Location"]
    beside = client.get("/failures").text
    assert "/failures?namespace=shop&amp;step=charge&amp;owner=ann" in beside
    assert "Ours" not in client.get("/tasks").text, "it is no list of tasks"
    shown = client.get(where).text
    assert "1</span> <span>group of failures" in shown
    with monkeypatch.context() as nearer:
        nearer.setattr(failures, "LOOKED_AT", 1)
        least = client.get(where).text
        assert ('1<span title="At least so many' in least, "at least: older ones were not looked through" in least) == (True, True)
        assert '"is_least": true' in client.get("/views?format=ndjson").text
    assert 'id="kept-views"' in client.get("/failures", headers={"HX-Request": "true"}).text, "the counts are not renewed with the list"
    assert post(where, title="Ours too", shared="", threshold="0", email="ops@shop.example").status_code == 303
    assert "failures, too many" in client.get("/failures").text
    failures.keep_note(db, group, failures.FailureNote(owner="Ann", until=datetime.now(UTC) + timedelta(hours=1)), actor="ann")
    assert "0</span> <span>groups of failures to look at" in client.get(where).text
    assert "Ours too" in client.get("/palette?q=ours").text
    assert "/failures?namespace=shop" in client.get("/views").text


def test_the_list_says_how_far_it_was_looked_where_there_are_more(client: FlaskClient, launch: Callable[..., str], engine: HandEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.fail(launch(1), "validate")
    assert "not shown" not in client.get("/failures").text
    later = launch(2)
    engine.complete(later, "validate")
    engine.fail(later, "charge")
    monkeypatch.setattr(failure_filter, "LISTED", 1)
    assert "The 1 group that failed last; 1 older not shown" in client.get("/failures").text
    monkeypatch.setattr(failure_filter, "SEARCHED", 1)
    assert "Looked through the 1 group that failed last; 1 older not looked at." in client.get("/failures?error=timeout").text
    assert "with a failed step" not in client.get("/failures").text
    monkeypatch.setattr(failures, "LOOKED_AT", 1)
    for page in (client.get("/failures").text, client.get("/failures?step=validate").text):
        assert "Counted in the newest 1 task with a failed step; older ones were not looked at" in page
    assert ">+</span></td>" in client.get("/failures").text


def test_a_whole_group_is_retried_after_it_was_shown_and_says_what_came_of_each(
    client: FlaskClient, post: Post, db: Database, engine: HandEngine, many_failed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "LOOKED_AT", 2)
    [group] = failures.failure_groups(db)
    shown = client.get(f"/failures/{group.key}").text
    assert ("at least 2 steps of 2 tasks" in shown, ">Retry all steps<" in shown, ">Cancel their tasks that have not ended<" in shown) == (True, True, True)
    address = f"/batches/new/step-retry?failure={group.key}"
    with monkeypatch.context() as smaller:
        smaller.setattr(batches_page, "MOST_ITEMS", 2)
        part = client.get(address).text
        assert (">Retry 2 steps</button>" in part, "; of the newest 2 steps of them, older ones are left for another batch" in part) == (True, True)
    with monkeypatch.context() as nearer:
        nearer.setattr(failures, "REACHED", 1)
        assert "; of the newest 1 tasks of the workflow with a failed step, older ones were not looked through" in client.get(address).text
    preview = client.get(address).text
    assert (">Retry 3 steps</button>" in preview, "older ones" in preview) == (True, False)

    answer = post("/batches/new/step-retry", failure=group.key, count="3", reason="the gateway is back")
    assert answer.status_code == 303
    where = answer.headers["Location"]
    assert "3 to do" in client.get(where).text

    batches.run_due(db, GOING)
    done = client.get(where).text
    assert "3 done" in done
    assert "the gateway is back" in done
    assert [engine.state(task_id, "validate") for task_id in many_failed] == ["ready"] * 3
    assert "Nothing is failed" in client.get("/failures").text
    assert "the gateway is back" in client.get(f"/tasks/{many_failed[0]}").text


def test_only_tasks_of_a_group_that_have_not_ended_can_be_cancelled(
    client: FlaskClient, post: Post, db: Database, launch: Callable[..., str], engine: HandEngine, many_failed: list[str], failed_task: str
) -> None:
    page = {group.step_name: client.get(f"/failures/{group.key}").text for group in failures.failure_groups(db)}
    assert "have not ended" not in page["validate"]  # nothing else of those tasks could run
    [group] = [group for group in failures.failure_groups(db) if group.step_name == "validate"]
    assert "No task on which you may do this" in client.get(f"/batches/new/cancellation?failure={group.key}").text

    half = launch(8)
    engine.complete(half, "validate")
    engine.fail(half, "charge")  # reserve still runs
    [group] = [group for group in failures.failure_groups(db) if group.step_name == "charge"]
    assert ">Cancel 1 task of them that has not ended<" in client.get(f"/failures/{group.key}").text
    preview = client.get(f"/batches/new/cancellation?failure={group.key}").text
    assert (">Cancel 1 task</button>" in preview, f"/tasks/{half}" in preview, f"/tasks/{failed_task}" in preview) == (True, True, False)
    where = post("/batches/new/cancellation", failure=group.key, count="1").headers["Location"]
    batches.run_due(db, GOING)
    assert "1 done" in client.get(where).text
    engine.complete(half, "reserve")
    assert (engine.state(half), engine.state(half, "ship"), engine.state(failed_task)) == ("cancelled", "cancelled", "failed")


def test_a_group_that_grew_since_it_was_shown_is_shown_again_and_nothing_is_done(client: FlaskClient, post: Post, db: Database, many_failed: list[str]) -> None:
    [group] = failures.failure_groups(db)
    answer = post("/batches/new/step-retry", failure=group.key, count="2")
    assert answer.status_code == 409
    assert "nothing was done" in answer.text
    assert batches.batches(db) == []


def test_what_a_filter_holds_is_acted_on_and_can_be_stopped(client: FlaskClient, post: Post, db: Database, launch: Callable[..., str]) -> None:
    tagged = [launch(number, tags=("night",)) for number in range(1, 4)]
    launch(9)
    listed = client.get("/tasks?tag=night").text
    assert "/batches/new/pause?tag=night" in listed
    assert "/batches/new/" not in client.get("/tasks").text

    where = post("/batches/new/pause", tag="night", count="3").headers["Location"]
    assert post(f"{where}/stop").status_code == 303
    assert "3 left as they are" in client.get(where).text
    assert post(f"{where}/stop").status_code == 409

    post("/batches/new/pause", tag="night", count="3")
    batches.run_due(db, GOING)
    assert sorted(str(row[0]) for row in db.rows("select task_id from tasker_task where paused")) == sorted(tagged)
    assert "3<span" in re.sub(r"\s", "", client.get("/batches").text)


def test_all_that_match_says_how_far_it_was_looked(client: FlaskClient, launch: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 4):
        launch(number)
    monkeypatch.setattr(listing, "LOOKED_AT", 2)
    assert "older ones were not looked through" in client.get("/batches/new/cancellation?initiator=nobody").text
    assert "older ones were not looked through" not in client.get("/batches/new/cancellation?namespace=shop").text


def test_the_address_of_a_form_for_many_says_to_which_ones_also_when_it_was_refused(client: FlaskClient, post: Post, db: Database, launch: Callable[..., str]) -> None:
    [launch(number, tags=("night",), initiator="ana") for number in range(1, 3)]
    launch(9)
    address = "/batches/new/pause?tag=night&initiator=ana"
    refused = post(address, count="3", reason="<stocktaking>")
    assert refused.status_code == 409
    for page in (client.get(address).text, refused.text):
        assert f'action="{escape(address)}"' in page
        assert "Pause 2 tasks" in page
    assert 'name="reason" value="&lt;stocktaking&gt;"' in refused.text
    assert post(address, count="2").status_code == 303


@pytest.mark.parametrize(("query", "words"), [("", ""), ("?tagg=night", ""), ("?cursor=5", ""), ("?state=sleeping", "no task state"), ("?tag=night&within=soon", "href=\"/tasks?tag=night&amp;within=soon\"")])
def test_nothing_is_done_to_many_without_a_filter_that_can_be_read(client: FlaskClient, post: Post, db: Database, launch: Callable[..., str], query: str, words: str) -> None:
    launch(tags=("night",))
    for answer in (client.get(f"/batches/new/pause{query}"), post(f"/batches/new/pause{query}", count="1")):
        assert (answer.status_code, "Choose a filter first" in answer.text, words in answer.text) == (422, True, True)
        assert 'href="/tasks' in answer.text
    assert batches.batches(db) == []


def test_the_failed_steps_of_all_tasks_that_a_filter_holds_are_shown_with_those_that_would_be_refused(client: FlaskClient, post: Post, db: Database, engine: HandEngine, many_failed: list[str]) -> None:
    db.value("update tasker_task set cancel_requested_at = tasker_clock() where task_id = %(task)s returning 1", {"task": many_failed[0]})
    assert "/batches/new/step-skip?name=process_order" in client.get("/tasks?name=process_order").text
    assert "failed steps" not in client.get("/tasks?name=process_order&state=completed").text
    page = client.get("/batches/new/step-retry?name=process_order").text
    assert ">Retry 2 steps</button>" in page
    assert "<b>1</b> the task was cancelled" in page

    where = post("/batches/new/step-retry?name=process_order", count="2", reason="the gateway is back").headers["Location"]
    batches.run_due(db, GOING)
    assert "2 done" in client.get(where).text
    assert [engine.state(task_id, "validate") for task_id in many_failed] == ["failed", "ready", "ready"]

    for task_id in many_failed[1:]:
        engine.fail(task_id, "validate")
    resolve = "/batches/new/step-resolution?name=process_order"
    assert ('name="result"' in (page := client.get(resolve).text), ">Resolve 2 steps</button>" in page) == (True, True)
    post(resolve, count="2", result='{"checked": "by hand"}')
    batches.run_due(db, GOING)
    assert [engine.state(task_id, "validate") for task_id in many_failed] == ["failed", "resolved", "resolved"]
    assert db.value("select count(*) from tasker_step where result = '{\"checked\": \"by hand\"}'") == 2
    left = client.get("/batches/new/step-retry?name=process_order").text
    assert ("<b>1</b> the task was cancelled" in left, "None of them can be retried as they stand." in left) == (True, True)


def test_steps_are_those_of_a_group_of_failures(client: FlaskClient) -> None:
    answer = client.get("/batches/new/step-retry")
    assert (answer.status_code, "Choose a group of failures first" in answer.text) == (422, True)


def test_what_is_known_of_failures_is_kept_and_what_cannot_be_kept_stays_in_its_field(client: FlaskClient, post: Post, db: Database, many_failed: list[str]) -> None:
    [group] = failures.failure_groups(db)
    where = f"/failures/{group.key}/note"
    wrong = post(where, owner="payments", runbook="wiki", until="soon")
    assert wrong.status_code == 422
    assert 'value="wiki"' not in client.get(f"/failures/{group.key}").text
    assert 'value="payments"' in wrong.text
    assert "must be a time" in wrong.text.lower()

    assert "Runbook</a>" not in wrong.text
    assert post(where, owner="payments", note="<b>down</b>", runbook="https://wiki.example/gateway?a=1&b=2", until="2999-01-01T00:00").status_code == 303
    kept = client.get(f"/failures/{group.key}").text
    assert '<a href="https://wiki.example/gateway?a=1&amp;b=2" rel="noreferrer noopener">Runbook</a>' in kept
    assert 'value="https://wiki.example/gateway?a=1&amp;b=2"' in kept
    page = client.get("/failures").text
    assert "1 group acknowledged" in page
    assert "payments: &lt;b&gt;down&lt;/b&gt;" in page
    assert "Every failure that is left is looked after" in page

    client.set_cookie("zone", "Asia/Kolkata")
    assert post(where, until="2999-01-01T05:30").status_code == 303
    assert failures.failure_groups(db)[0].known.until == datetime(2999, 1, 1, tzinfo=UTC)
    shown = client.get(f"/failures/{group.key}").text
    assert ("Acknowledged until (Asia/Kolkata)" in shown, 'value="2999-01-01T05:30"' in shown) == (True, True)


def test_an_unknown_group_batch_or_action_is_not_found(client: FlaskClient) -> None:
    for path in ("/failures/nothing", "/batches/12345", "/batches/new/step-retry?failure=nothing"):
        assert client.get(path).status_code == 404, path
    assert client.get("/batches/new/explode").status_code in (403, 404)


def test_more_than_a_batch_holds_is_refused_also_where_most_of_it_would_be(client: FlaskClient, launch: Callable[..., str], engine: HandEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forbids: of ten thousand that were looked at most have ended, and the rest is taken for all there is."""
    ended, _, _ = launch(1), launch(2), launch(3)
    engine.fail(ended, "validate")
    monkeypatch.setattr(batches_page, "MOST_ITEMS", 2)
    page = client.get("/batches/new/retry?name=process_order").text
    assert "There are more than 2; narrow the filter" in page
    assert "<button" not in page.partition("narrow the filter")[2].partition("</main>")[0]
    monkeypatch.setattr(batches_page, "MOST_ITEMS", 3)
    assert "Retry 1 task" in client.get("/batches/new/retry?name=process_order").text
