"""`/schedules`: what runs again and again, and what an operator can do about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from engine import queries, tasks
from engine.db import Database
from engine.definition import StepTemplate, TaskDefinition
from engine.rows import ScheduleRow
from engine.schedules import add_schedule, pause_schedule, run_schedule, schedule_row
from engine.timing import cron, every

Post = Callable[..., TestResponse]
HTMX = {"HX-Request": "true"}


@pytest.fixture
def schedule(db: Database, definition_id: int) -> ScheduleRow:
    """The order workflow runs every night."""
    return given(db)


def given(db: Database, **fields: Any) -> ScheduleRow:
    timing = fields.pop("timing", cron("30 2 * * *", "Europe/Berlin"))
    return add_schedule(db, timing, **{"name": "process_order", "namespace": "shop", "context": {"order_id": 7}, "actor": "ann", **fields})


def again(db: Database, schedule: ScheduleRow) -> ScheduleRow:
    return schedule_row(db, schedule.schedule_id)


# the page


def test_without_schedules_the_page_says_how_to_add_one(client: FlaskClient) -> None:
    page = client.get("/schedules").text
    assert "tasker schedule add" in page
    assert 'name="reason"' not in page


def test_a_schedule_is_told_in_words_with_its_next_runs(client: FlaskClient, schedule: ScheduleRow) -> None:
    page = client.get("/schedules").text
    assert "At 02:30 every day, Europe/Berlin time" in page
    assert ">30 2 * * *</code>" in page
    assert schedule.next_run_at
    for at in schedule.upcoming(10):
        assert f"{at:%Y-%m-%d %H:%M:%S UTC}" in page
    assert "none yet" in page
    assert 'href="/workflows/shop/process_order"' in page


def test_its_latest_tasks_are_shown_with_their_states(client: FlaskClient, db: Database, schedule: ScheduleRow) -> None:
    made = [run_schedule(db, schedule.schedule_id, actor="ann") for _ in range(4)]
    tasks.cancel_task(db, made[3], actor="ann")
    page = client.get("/schedules").text
    assert [task[:8] in page for task in made] == [False, True, True, True]
    assert "Cancelled" in page
    assert f'href="/tasks?tag=schedule:{schedule.schedule_id}"' in page


def test_a_paused_schedule_says_who_paused_it_and_why(client: FlaskClient, db: Database, schedule: ScheduleRow) -> None:
    pause_schedule(db, schedule.schedule_id, actor="ann", reason="stock < 1")
    page = client.get("/schedules").text
    assert "by ann, stock &lt; 1" in page
    assert ">Resume</button>" in page
    assert ">Pause</button>" not in page


def test_a_run_that_made_no_task_says_why(client: FlaskClient, conn: Any, schedule: ScheduleRow) -> None:
    conn.execute("update tasker_schedule set last_error = '$.order_id: is required', next_run_at = null, missed_count = 1200, refused_count = 3")
    page = client.get("/schedules").text
    assert "1\u202f200 runs missed so far" in page
    assert "3 runs refused so far" in page
    assert "$.order_id: is required" in page
    assert "never" in page


def test_htmx_gets_the_rows_alone(client: FlaskClient, schedule: ScheduleRow) -> None:
    answer = client.get("/schedules", headers=HTMX)
    assert answer.text.lstrip().startswith('<section id="schedule-list"')
    assert "<html" not in answer.text


def test_the_page_is_one_of_the_sections(client: FlaskClient) -> None:
    assert '<a href="/schedules" aria-current="page">Schedules</a>' in client.get("/schedules").text
    assert '<a href="/schedules">Schedules</a>' in client.get("/tasks").text


def test_enter_in_the_reason_presses_no_button_of_a_row(client: FlaskClient, schedule: ScheduleRow) -> None:
    page = client.get("/schedules").text
    assert page.index('form id="act"') < page.index("<button disabled hidden>") < page.index('form="act"')


# the actions


def test_pausing_and_resuming_by_plain_forms(client: FlaskClient, db: Database, post: Post, schedule: ScheduleRow) -> None:
    answer = post(f"/schedules/{schedule.schedule_id}/pause", reason="stocktaking")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/schedules")
    paused = again(db, schedule)
    assert (paused.paused, paused.changed_by, paused.change_reason) == (True, "dashboard", "stocktaking")
    assert "The schedule is paused." in client.get("/schedules").text
    assert post(f"/schedules/{schedule.schedule_id}/resumption").status_code == 303
    assert not again(db, schedule).paused


def test_htmx_gets_the_rows_as_they_are_now(post: Post, schedule: ScheduleRow) -> None:
    answer = post(f"/schedules/{schedule.schedule_id}/pause", htmx=True)
    assert answer.status_code == 200
    assert 'id="schedule-list" aria-label="Schedules" hx-swap-oob="morph"' in answer.text
    assert ">Resume</button>" in answer.text
    assert "The schedule is paused." in answer.text


@pytest.mark.parametrize("htmx", [False, True])
def test_what_was_done_already_is_answered_with_how_it_stands(db: Database, post: Post, schedule: ScheduleRow, htmx: bool) -> None:
    assert post(f"/schedules/{schedule.schedule_id}/resumption", htmx=htmx).status_code == 409
    pause_schedule(db, schedule.schedule_id, actor="ann")
    answer = post(f"/schedules/{schedule.schedule_id}/pause", htmx=htmx)
    assert answer.status_code == 409
    assert "The schedule is paused already." in answer.text
    assert ">Resume</button>" in answer.text


def test_run_now_makes_a_task_with_the_reason(db: Database, post: Post, schedule: ScheduleRow) -> None:
    assert post(f"/schedules/{schedule.schedule_id}/run", reason="to see it").status_code == 303
    [made] = again(db, schedule).recent
    detail = queries.task(db, made.task_id)
    assert (detail.task.initiator, detail.reason, detail.context["order_id"]) == ("dashboard", "to see it", 7)
    assert again(db, schedule).next_run_at == schedule.next_run_at


def test_a_context_that_no_longer_fits_makes_no_task(db: Database, post: Post, schedule: ScheduleRow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "LATEST_SECONDS", 0.0)
    schema = {"type": "object", "required": ["country"]}
    tasks.register_definition(db, TaskDefinition("shop", "process_order", version="99.0.0", schema=schema, steps=(StepTemplate("go"),)))
    answer = post(f"/schedules/{schedule.schedule_id}/run", htmx=True)
    assert answer.status_code == 422
    assert "country" in answer.text
    assert again(db, schedule).recent == ()


@pytest.mark.parametrize("noun", ["pause", "resumption", "run"])
@pytest.mark.parametrize("number", ["4711", "99999999999999999999"])
def test_an_unknown_schedule_is_404(post: Post, noun: str, number: str) -> None:
    assert post(f"/schedules/{number}/{noun}").status_code == 404


@pytest.mark.parametrize("noun", ["pause", "resumption", "run"])
def test_an_action_needs_the_form_token_and_a_post(client: FlaskClient, db: Database, schedule: ScheduleRow, noun: str) -> None:
    assert client.post(f"/schedules/{schedule.schedule_id}/{noun}").status_code == 403
    assert client.get(f"/schedules/{schedule.schedule_id}/{noun}").status_code == 405
    assert again(db, schedule) == schedule


def test_an_interval_reads_as_one(client: FlaskClient, db: Database, definition_id: int) -> None:
    given(db, timing=every("90m"), version="1.0.0")
    page = client.get("/schedules").text
    assert "Every 1 hour 30 minutes" in page
    assert '<span class="of">@1.0.0</span>' in page
