"""An operator goes on without a step's handler: skipped, or resolved with a result; both also lead out of failure."""

from datetime import timedelta

import pytest
from graphs import (
    Conn,
    cancel_step,
    claim,
    complete,
    fail,
    given_task,
    history,
    move_clock,
    names_of,
    now,
    ready,
    refused,
    resolve_step,
    skip_step,
    start,
    states,
    task_state,
    value,
)
from invariants import assert_invariants, stale_rows

ACTS = {"skipped": skip_step, "resolved": resolve_step}
both = pytest.mark.parametrize("state", ACTS)


@both
@pytest.mark.parametrize("before", ["ready", "retrying", "failed"])
def test_the_children_go_on(conn: Conn, state: str, before: str) -> None:
    task = given_task(conn, "a -> b, x")
    if before != "ready":
        fail(conn, task, "a", retryable=before == "retrying")
    assert ACTS[state](conn, task, "a") == state
    assert states(conn, task) == {"a": state, "b": "ready", "x": "ready"}
    assert history(conn, task, "a")[-1] == (before, state)
    assert stale_rows(conn) == 0
    complete(conn, task, "b", "x")
    assert task_state(conn, task) == "completed"
    assert_invariants(conn)


@both
def test_a_failed_task_runs_on(conn: Conn, state: str) -> None:
    task = given_task(conn, "a -> b")
    fail(conn, task, "a")
    ACTS[state](conn, task, "a")
    assert task_state(conn, task) == "running"
    complete(conn, task, "b")
    assert history(conn, task) == [("pending", "running"), ("running", "failed"), ("failed", "running"), ("running", "completed")]
    assert_invariants(conn)


@both
def test_a_failed_task_ends_well_when_nothing_else_is_left(conn: Conn, state: str) -> None:
    task = given_task(conn, "a -> b")
    complete(conn, task, "a")
    fail(conn, task, "b")
    move_clock(conn, hours=2)
    ACTS[state](conn, task, "b")
    assert history(conn, task)[-2:] == [("running", "failed"), ("failed", "completed")]
    assert value(conn, "select finished_at > tasker_clock() - interval '1 hour' from tasker_task where task_no = %s", task.no) is True
    assert_invariants(conn)


@both
@pytest.mark.parametrize("before", ["running", "completed", "cancelled", "skipped", "resolved"])
def test_a_step_that_runs_or_has_ended_is_left_alone(conn: Conn, state: str, before: str) -> None:
    task = given_task(conn, "a, b")
    {"running": start, "completed": complete, "cancelled": cancel_step, "skipped": skip_step, "resolved": resolve_step}[before](conn, task, "a")
    with refused("WF002"):
        ACTS[state](conn, task, "a")
    assert states(conn, task)["a"] == before


@both
def test_a_task_is_pending_until_a_handler_runs(conn: Conn, state: str) -> None:
    task = given_task(conn, "a -> b")
    ACTS[state](conn, task, "a")
    assert task_state(conn, task) == "pending"
    ACTS[state](conn, task, "b")
    assert (task_state(conn, task), history(conn, task)) == ("completed", [("pending", "completed")])
    assert_invariants(conn)


def test_a_resolved_step_has_the_result_that_was_given(conn: Conn) -> None:
    task = given_task(conn, "a")
    fail(conn, task, "a")
    resolve_step(conn, task, "a", {"payment_id": 7})
    assert conn.execute("select result, error from tasker_step where task_no = %s", [task.no]).fetchone() == ({"payment_id": 7}, None)


def test_a_pending_step_can_be_resolved_before_its_parents_are_done(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> c")
    assert resolve_step(conn, task, "b") == "resolved"
    assert ready(conn, task) == {"a", "c"}
    complete(conn, task, "c")
    assert task_state(conn, task) == "running"
    complete(conn, task, "a")
    assert (states(conn, task)["b"], task_state(conn, task)) == ("resolved", "completed")
    assert_invariants(conn)


def test_a_pending_step_is_skipped_when_its_parents_are_done(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> c")
    assert skip_step(conn, task, "b") == "pending"
    assert (states(conn, task)["b"], ready(conn, task)) == ("pending", {"a"})
    complete(conn, task, "a")
    assert states(conn, task) == {"a": "completed", "b": "skipped", "c": "ready"}
    assert_invariants(conn)


def test_skipping_a_pending_step_is_on_record_at_once(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    skip_step(conn, task, "b")
    row = conn.execute("select from_state, to_state, actor, reason, detail from tasker_history where task_no = %s", [task.no]).fetchone()
    assert row == (0, 0, "ann", "not needed", {"bypass": True})


def test_a_delayed_root_that_is_skipped_ends_at_its_time(conn: Conn) -> None:
    task = given_task(conn, "a -> b", run_at=now(conn) + timedelta(hours=1))
    skip_step(conn, task, "a")
    assert (claim(conn), states(conn, task)["a"]) == ([], "pending")
    move_clock(conn, hours=1)
    assert names_of(task, claim(conn)) == {"b"}
    assert_invariants(conn)


def test_a_delayed_root_that_is_resolved_leaves_the_queue(conn: Conn) -> None:
    task = given_task(conn, "a -> b", run_at=now(conn) + timedelta(hours=1))
    resolve_step(conn, task, "a")
    assert ready(conn, task) == {"b"}
    assert value(conn, "select count(*) from tasker_delayed") == 0
    assert_invariants(conn)


# ---- bypass: asked for with the task


def test_a_bypassed_step_waits_for_its_parents(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> c", bypass_steps=["b"])
    assert (states(conn, task)["b"], ready(conn, task)) == ("pending", {"a"})
    complete(conn, task, "a")
    assert states(conn, task) == {"a": "completed", "b": "skipped", "c": "ready"}
    assert_invariants(conn)


def test_nothing_overtakes_the_parents_of_bypassed_steps(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> c -> d, x -> c", bypass_steps=["b", "c"])
    complete(conn, task, "a")
    assert (states(conn, task)["b"], states(conn, task)["c"], ready(conn, task)) == ("skipped", "pending", {"x"})
    complete(conn, task, "x")
    assert (states(conn, task)["c"], ready(conn, task)) == ("skipped", {"d"})
    assert_invariants(conn)


def test_a_bypassed_leaf_ends_the_task(conn: Conn) -> None:
    task = given_task(conn, "a -> b", bypass_steps=["b"])
    complete(conn, task, "a")
    assert (task_state(conn, task), history(conn, task)[-1]) == ("completed", ("running", "completed"))
    assert history(conn, task, "b") == [("pending", "skipped")]
    assert_invariants(conn)


def test_a_bypassed_step_behind_a_failure_stays_blocked(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> c", bypass_steps=["b"])
    fail(conn, task, "a")
    assert (states(conn, task), task_state(conn, task)) == ({"a": "failed", "b": "pending", "c": "pending"}, "failed")
    resolve_step(conn, task, "a")
    assert states(conn, task) == {"a": "resolved", "b": "skipped", "c": "ready"}
    assert_invariants(conn)


def test_a_name_that_is_no_step_is_not_bypassed(conn: Conn) -> None:
    task = given_task(conn, "a", bypass_steps=["z"])
    assert states(conn, task) == {"a": "ready"}
