"""Why a task or step is where it is, in one sentence; pure, without a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine.rows import ActivityRow, StepRow, TaskDetail, TaskRow
from engine.why import held_by, listed, waits_for, why_step, why_task
from webapp.why import error_line, move_words

NOW = datetime.now(UTC)


def step(name: str, state: str, **fields: Any) -> StepRow:
    known: dict[str, Any] = {
        "step_id": 1, "step_no": 0, "attempts": 1, "retry_limit": 3, "parents": (), "children": (), "satisfied_parents": 0,
        "started_at": None, "finished_at": None, "next_retry_at": None, "waiting_for": "", "error": None,
        "duration_seconds": None, "engine": None, "bypass": False,
    }  # fmt: skip
    return StepRow(name=name, state=state, **{**known, **fields})


def task(state: str, *steps: StepRow, **fields: Any) -> TaskDetail:
    known: dict[str, Any] = {
        "task_id": "t", "namespace": "shop", "name": "order", "version": "1.0.0", "paused": False, "priority": 0, "tags": (),
        "initiator": None, "correlation_id": None, "created_at": NOW, "started_at": None, "finished_at": None, "run_at": None,
        "step_count": len(steps), "done_count": 0, "failed_count": 0,
    }  # fmt: skip
    told = fields.pop("cancel_requested_at", None)
    row = TaskRow(state=state, **{**known, **fields})
    return TaskDetail(row, {}, None, None, told, 1, steps)


def test_a_failed_task_names_the_failure_and_what_it_holds_back() -> None:
    failed = step("charge", "failed", error={"type": "Timeout", "message": "no answer"})
    assert (
        why_task(task("failed", failed, step("ship", "pending"))) == "charge failed: no answer. 1 step waits behind it."
    )
    assert why_task(task("failed", failed, step("pack", "failed"))) == "charge and pack failed."


def test_a_finished_task_says_how_long_it_took() -> None:
    ended = task(
        "completed", step("a", "completed"), started_at=NOW, finished_at=NOW + timedelta(seconds=62), done_count=1
    )
    assert why_task(ended) == "Completed after 1 min 2 s, 1 of 1 step done."


def test_a_running_task_names_what_runs_and_what_has_failed() -> None:
    running = [step(name, "running") for name in "abcde"]
    assert why_task(task("running", *running)) == "a, b and 3 more are running."
    assert why_task(task("running", running[0], step("f", "failed"))) == "a is running. f failed and holds its branch."


def test_a_ready_step_tells_why_nobody_takes_it() -> None:
    ready = step("a", "ready", waiting_for="an engine that has its handler; none is running now")
    assert (
        why_task(task("pending", ready))
        == "a is ready. It waits for an engine that has its handler; none is running now."
    )


def test_a_back_off_says_when_it_ends() -> None:
    waiting = step(
        "a", "retrying", waiting_for="attempt 2 of 3 at x", next_retry_at=NOW + timedelta(hours=5, minutes=30)
    )
    assert why_task(task("running", waiting)).startswith("a waits for attempt 2 of 3, in 5 h")
    over = step("a", "retrying", waiting_for="attempt 2 of 3 at x", next_retry_at=NOW - timedelta(minutes=5))
    assert waits_for(over) == "Waits for attempt 2 of 3, due now."


@pytest.mark.parametrize("fields", [{}, {"bypass": True}])
def test_a_running_step_that_was_told_to_stop_waits_for_its_handler(fields: dict[str, Any]) -> None:
    told = step("a", "running", waiting_for="its handler to stop: cancellation was requested", **fields)
    assert waits_for(told) == "Waits for its handler to stop: cancellation was requested."
    assert waits_for(step("a", "running", waiting_for="its handler, attempt 1 of 3")) == "Busy with its handler, attempt 1 of 3."


def test_a_task_that_was_told_to_stop_or_pause_says_so_first() -> None:
    running = step("a", "running")
    assert "told to stop" in why_task(task("running", running, cancel_requested_at=NOW))
    assert "paused" in why_task(task("running", running, paused=True))


def test_a_task_of_which_nothing_is_known_still_has_a_sentence() -> None:
    assert why_task(task("running")) == "It is about to begin."
    assert why_task(task("failed")) == "It failed."


@pytest.mark.parametrize("state", ["completed", "cancelled", "skipped", "resolved"])
def test_a_step_that_ended_says_how(state: str) -> None:
    assert why_step(step("a", state, duration_seconds=1.5)).endswith("It took 1.5 s.")


def test_a_failed_step_tells_attempts_and_message() -> None:
    assert why_step(step("a", "failed", attempts=3, error={"message": "no"})) == "It failed after 3 attempts: no."
    assert why_step(step("a", "failed", attempts=1, error={"type": "KeyError", "message": "'sku'"})) == "It failed after 1 attempt: KeyError: 'sku'."


def test_a_blocked_step_says_what_would_free_it() -> None:
    blocked = step("ship", "pending", waiting_for="blocked: charge failed; retry, skip or resolve it")
    assert waits_for(blocked) == "Blocked: charge failed; retry, skip or resolve it."


def test_names_are_listed_as_people_do() -> None:
    assert [listed("ab"[:1]), listed("ab"), listed("abc"), listed("abcde")] == [
        "a",
        "a and b",
        "a, b and c",
        "a, b and 3 more",
    ]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (None, "pending", "was created"),
        ("ready", "running", "started, attempt 2 on one"),
        ("running", "retrying", "failed and will be tried again, attempt 2"),
        ("running", "ready", "was handed back"),
        ("failed", "ready", "runs again"),
        ("pending", "pending", "is to be skipped"),
        ("running", "running", "was asked to stop"),
        ("failed", "resolved", "was resolved"),
    ],
)
def test_every_move_has_words(before: str | None, after: str, words: str) -> None:
    assert move_words(ActivityRow(NOW, "a", before, after, 2, "one", None, None, None)) == words


def test_an_error_is_one_line() -> None:
    assert error_line({"type": "Timeout", "message": "no\n answer"}) == "Timeout: no answer"
    assert error_line({"bypass": True}) == error_line(None) == ""
    assert len(error_line({"message": "x" * 5000}, 90)) == 90


def test_a_step_is_held_by_the_unfinished_steps_before_it_that_wait_for_nothing() -> None:
    steps = [
        step("find", "completed"), step("pay", "retrying", parents=("find",)), step("pack", "pending", parents=("pay",)),
        step("label", "ready"), step("ship", "pending", parents=("pack", "label")),
    ]  # fmt: skip
    assert [each.name for each in held_by(steps[4], steps)] == ["label", "pay"]
    assert held_by(steps[1], steps) == []
