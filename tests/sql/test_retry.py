"""An operator lets failed steps try again: attempts are granted anew, and the failed task runs."""

import pytest
from graphs import (
    Conn,
    cancel_step,
    claim,
    complete,
    fail,
    given_attempts,
    given_task,
    history,
    names_of,
    readiness,
    ready,
    refused,
    resolve_step,
    retry_step,
    retry_task,
    skip_step,
    start,
    states,
    task_state,
    value,
)
from invariants import assert_invariants


def test_a_failed_step_is_ready_again_and_its_task_runs(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    fail(conn, task, "a")
    assert retry_step(conn, task, "a") == "ready"
    assert (states(conn, task), task_state(conn, task)) == ({"a": "ready", "b": "pending"}, "running")
    assert value(conn, "select finished_at from tasker_task where task_no = %s", task.no) is None
    complete(conn, task, "a", "b")
    assert history(conn, task) == [("pending", "running"), ("running", "failed"), ("failed", "running"), ("running", "completed")]
    assert_invariants(conn)


def test_attempts_are_granted_anew(conn: Conn) -> None:
    task = given_task(conn, "a", retry_limit=2)
    for _ in range(2):
        fail(conn, task, "a", retryable=True, delay=0)
    retry_step(conn, task, "a")
    fail(conn, task, "a", retryable=True, delay=0)
    assert states(conn, task) == {"a": "retrying"}
    assert (readiness(conn, task)["a"]["attempts"], readiness(conn, task)["a"]["retry_limit"]) == (3, 4)
    fail(conn, task, "a", retryable=True, delay=0)
    assert (states(conn, task), task_state(conn, task)) == ({"a": "failed"}, "failed")
    assert_invariants(conn)


def test_a_retry_ends_a_back_off_early_without_more_attempts(conn: Conn) -> None:
    task = given_task(conn, "a", retry_limit=2)
    fail(conn, task, "a", retryable=True)
    assert retry_step(conn, task, "a") == "ready"
    assert ready(conn, task) == {"a"}
    assert value(conn, "select count(*) from tasker_delayed") == 0
    fail(conn, task, "a", retryable=True)
    assert states(conn, task) == {"a": "failed"}


def test_who_retried_and_why_is_in_the_history(conn: Conn) -> None:
    task = given_task(conn, "a")
    fail(conn, task, "a")
    retry_step(conn, task, "a")
    rows = conn.execute("select step_no, from_state, to_state, actor, reason from tasker_history where task_no = %s and actor is not null order by event_id", [task.no])
    assert rows.fetchall() == [(0, 5, 1, "ann", "again"), (None, 5, 2, "ann", "again")]


@pytest.mark.parametrize("state", ["pending", "ready", "running", "completed", "cancelled", "skipped", "resolved"])
def test_only_a_failed_or_waiting_step_can_be_retried(conn: Conn, state: str) -> None:
    task = given_task(conn, "x -> a, b" if state == "pending" else "a, b")
    moves = {"running": start, "completed": complete, "cancelled": cancel_step, "skipped": skip_step, "resolved": resolve_step}
    if state in moves:
        moves[state](conn, task, "a")
    with refused("WF002"):
        retry_step(conn, task, "a")
    assert states(conn, task)["a"] == state


def test_a_retry_of_a_task_takes_every_failed_step(conn: Conn) -> None:
    task = given_task(conn, "a -> c, b -> c, d")
    fail(conn, task, "a")
    fail(conn, task, "b")
    complete(conn, task, "d")
    assert task_state(conn, task) == "failed"
    assert retry_task(conn, task) == "running"
    assert ready(conn, task) == {"a", "b"}
    complete(conn, task, "a", "b", "c")
    assert task_state(conn, task) == "completed"
    assert_invariants(conn)


def test_a_retry_of_a_task_that_still_runs_takes_what_has_failed(conn: Conn) -> None:
    task = given_task(conn, "a -> c, b")
    fail(conn, task, "a")
    assert retry_task(conn, task) == "running"
    assert ready(conn, task) == {"a", "b"}
    assert_invariants(conn)


def test_a_task_without_a_failed_step_cannot_be_retried(conn: Conn) -> None:
    task = given_task(conn, "a")
    with refused("WF002"):
        retry_task(conn, task)
    complete(conn, task, "a")
    with refused("WF002"):
        retry_task(conn, task)


def test_a_step_blocked_by_two_failures_waits_for_both(conn: Conn) -> None:
    task = given_task(conn, "a -> c, b -> c")
    fail(conn, task, "a")
    fail(conn, task, "b")
    retry_step(conn, task, "a")
    complete(conn, task, "a")
    assert (states(conn, task)["c"], task_state(conn, task)) == ("pending", "failed")
    retry_step(conn, task, "b")
    complete(conn, task, "b", "c")
    assert task_state(conn, task) == "completed"
    assert_invariants(conn)


def test_a_task_may_fail_and_be_retried_again_and_again(conn: Conn) -> None:
    task = given_task(conn, "a -> b", retryable=False)
    for _ in range(5):
        fail(conn, task, "a")
        assert task_state(conn, task) == "failed"
        retry_task(conn, task)
    complete(conn, task, "a", "b")
    assert task_state(conn, task) == "completed"
    assert history(conn, task).count(("running", "failed")) == history(conn, task).count(("failed", "running")) == 5
    assert_invariants(conn)


# ---- attempts are counted in a smallint: a claim that could not count would stop for every step that it takes


def test_a_step_that_was_tried_as_often_as_can_be_counted_is_not_retried_and_holds_up_no_claim(conn: Conn) -> None:
    task, other = given_task(conn, "a -> b, c"), given_task(conn, "a")
    fail(conn, task, "a")
    given_attempts(conn, task, "a", 32767)
    for retry in (lambda: retry_step(conn, task, "a"), lambda: retry_task(conn, task)):
        with refused("WF002"):
            retry()
    held = claim(conn)
    assert (names_of(task, held), names_of(other, held)) == ({"c"}, {"a"})
    assert skip_step(conn, task, "a") == "skipped"
    assert_invariants(conn)


def test_a_back_off_before_more_attempts_than_can_be_counted_is_not_ended_early(conn: Conn) -> None:
    task = given_task(conn, "a", retry_limit=2)
    fail(conn, task, "a", retryable=True)
    given_attempts(conn, task, "a", 32767)
    with refused("WF002"):
        retry_step(conn, task, "a")
    assert states(conn, task) == {"a": "retrying"}


def test_the_last_attempt_that_can_be_counted_is_made(conn: Conn) -> None:
    task = given_task(conn, "a", retry_limit=3)
    fail(conn, task, "a")
    given_attempts(conn, task, "a", 32766)
    assert retry_step(conn, task, "a") == "ready"
    assert (readiness(conn, task)["a"]["attempts"], readiness(conn, task)["a"]["retry_limit"]) == (32766, 32767)
    assert [one.attempt for one in claim(conn)] == [32767]
    fail(conn, task, "a", retryable=True)
    assert states(conn, task) == {"a": "failed"}
    assert_invariants(conn)
