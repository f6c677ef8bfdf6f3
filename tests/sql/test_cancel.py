"""Stopping a step or a task: what waits ends at once, what runs is asked to stop, and nothing leads out of it."""

from collections.abc import Callable

import pytest
from graphs import (
    Conn,
    blocks,
    cancel_step,
    cancel_task,
    claim,
    complete,
    fail,
    given_task,
    given_worker,
    history,
    insisting,
    meanwhile,
    move_clock,
    now,
    refused,
    release,
    report,
    resolve_step,
    retry_downstream,
    retry_step,
    retry_task,
    skip_step,
    start,
    states,
    task_state,
    until,
    value,
    waiting_for,
)
from invariants import assert_invariants, stale_rows


def queues(conn: Conn) -> tuple[int, int]:
    return value(conn, "select count(*) from tasker_ready"), value(conn, "select count(*) from tasker_delayed")


# ---- a task


def test_a_task_that_has_not_started_is_cancelled_at_once(conn: Conn) -> None:
    task = given_task(conn, "a -> b, c")
    assert cancel_task(conn, task) == "cancelled"
    assert set(states(conn, task).values()) == {"cancelled"}
    assert (task_state(conn, task), claim(conn), queues(conn)) == ("cancelled", [], (0, 0))
    assert_invariants(conn)


def test_what_waits_for_a_time_is_cancelled_too(conn: Conn) -> None:
    retrying, later = given_task(conn, "a"), given_task(conn, "a", run_at=now(conn).replace(year=2999))
    fail(conn, retrying, "a", retryable=True)
    assert (cancel_task(conn, retrying), cancel_task(conn, later)) == ("cancelled", "cancelled")
    assert queues(conn) == (0, 0)
    assert_invariants(conn)


def test_running_steps_are_asked_to_stop_and_the_task_ends_with_the_last_of_them(conn: Conn) -> None:
    task = given_task(conn, "a, b, c -> d")
    first, second = start(conn, task, "a"), start(conn, task, "b")
    assert cancel_task(conn, task) == "running"
    assert states(conn, task) == {"a": "running", "b": "running", "c": "cancelled", "d": "cancelled"}
    asked = conn.execute("select * from tasker_cancel_requests(%s, %s)", [[task.no] * 4, [0, 1, 2, 3]]).fetchall()
    assert sorted(asked) == [first[:2], second[:2]]
    fail(conn, task, "a", retryable=True)
    assert (states(conn, task)["a"], task_state(conn, task)) == ("cancelled", "running")
    report(conn, [second])
    assert (states(conn, task)["b"], task_state(conn, task)) == ("completed", "cancelled")
    assert history(conn, task)[-1] == ("running", "cancelled")
    assert_invariants(conn)


def test_a_step_handed_back_after_a_cancellation_is_cancelled(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    held = start(conn, task, "a")
    cancel_task(conn, task)
    release(conn, [held])
    assert (states(conn, task), task_state(conn, task)) == ({"a": "cancelled", "b": "cancelled"}, "cancelled")
    assert_invariants(conn)


def test_cancelling_a_task_that_is_being_cancelled_asks_again(conn: Conn) -> None:
    task = given_task(conn, "a")
    start(conn, task, "a")
    assert [cancel_task(conn, task), cancel_task(conn, task)] == ["running", "running"]
    complete(conn, task, "a")
    assert task_state(conn, task) == "cancelled"
    assert_invariants(conn)


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
def test_a_task_that_has_ended_cannot_be_cancelled(conn: Conn, end: str) -> None:
    task = given_task(conn, "a")
    {"completed": complete, "failed": fail, "cancelled": cancel_step}[end](conn, task, "a")
    assert task_state(conn, task) == end
    with refused("WF002"):
        cancel_task(conn, task)


def test_a_cancelled_task_stays_cancelled(conn: Conn) -> None:
    task = given_task(conn, "a -> b, c")
    fail(conn, task, "c")
    start(conn, task, "a")
    cancel_task(conn, task)
    for act in (retry_step, skip_step, resolve_step):
        with refused("WF002"):
            act(conn, task, "c")
    with refused("WF002"):
        retry_task(conn, task)
    assert_invariants(conn)


def test_who_cancelled_and_why_is_in_the_history(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    cancel_task(conn, task)
    rows = conn.execute("select step_no, actor, reason from tasker_history where task_no = %s order by event_id", [task.no]).fetchall()
    assert rows == [(0, "ann", "why not"), (1, "ann", "why not"), (None, "ann", "why not")]


def test_an_unknown_task_is_told_so(conn: Conn) -> None:
    for action in ("tasker_cancel_task", "tasker_retry_task"):
        with refused("WF001"):
            conn.execute(f"select {action}('00000000-0000-0000-0000-000000000000', 'ann', null)".encode())


# ---- a step


@pytest.mark.parametrize("state", ["ready", "pending", "retrying"])
def test_a_waiting_step_is_cancelled_with_what_waits_for_it(conn: Conn, state: str) -> None:
    task = given_task(conn, "a -> b -> c -> d, x")
    if state == "retrying":
        fail(conn, task, "a", retryable=True)
    assert cancel_step(conn, task, "b" if state == "pending" else "a") == "cancelled"
    assert states(conn, task) == {"a": "ready" if state == "pending" else "cancelled", "b": "cancelled", "c": "cancelled", "d": "cancelled", "x": "ready"}
    assert task_state(conn, task) in ("pending", "running")
    complete(conn, task, *(["a", "x"] if state == "pending" else ["x"]))
    assert task_state(conn, task) == "cancelled"
    assert stale_rows(conn) == 0
    assert_invariants(conn)


def test_a_running_step_is_asked_to_stop(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    start(conn, task, "a")
    assert cancel_step(conn, task, "a") == "running"
    assert waiting_for(conn, task, "a") == "its handler to stop: cancellation was requested"
    fail(conn, task, "a", retryable=True)
    assert (states(conn, task), task_state(conn, task)) == ({"a": "cancelled", "b": "cancelled"}, "cancelled")
    assert_invariants(conn)


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled", "skipped", "resolved"])
def test_a_step_that_has_ended_cannot_be_cancelled(conn: Conn, end: str) -> None:
    task = given_task(conn, "a, b")
    {"completed": complete, "failed": fail, "cancelled": cancel_step, "skipped": skip_step, "resolved": resolve_step}[end](conn, task, "a")
    with refused("WF002"):
        cancel_step(conn, task, "a")
    assert states(conn, task)["a"] == end


def test_a_cancelled_leaf_does_not_hold_the_task_up(conn: Conn) -> None:
    task = given_task(conn, "a -> b, a -> c")
    cancel_step(conn, task, "c")
    complete(conn, task, "a", "b")
    assert task_state(conn, task) == "cancelled"
    assert_invariants(conn)


def test_failed_outweighs_cancelled(conn: Conn) -> None:
    task = given_task(conn, "a, b")
    cancel_step(conn, task, "a")
    fail(conn, task, "b")
    assert task_state(conn, task) == "failed"


def test_a_child_that_was_satisfied_already_goes_on_without_its_cancelled_parent(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> c")
    resolve_step(conn, task, "b")
    cancel_step(conn, task, "a")
    assert states(conn, task) == {"a": "cancelled", "b": "resolved", "c": "ready"}
    complete(conn, task, "c")
    assert task_state(conn, task) == "cancelled"
    assert_invariants(conn)


def test_an_unknown_step_is_told_so(conn: Conn) -> None:
    task = given_task(conn, "a")
    for act in (cancel_step, retry_step, skip_step, resolve_step):
        with refused("WF001"):
            act(conn, task, "b")


def test_only_steps_asked_to_stop_are_named_to_the_engine(conn: Conn) -> None:
    task = given_task(conn, "a, b")
    start(conn, task, "a")
    start(conn, task, "b")
    cancel_step(conn, task, "b")
    assert conn.execute("select * from tasker_cancel_requests(%s, %s)", [[task.no] * 2, [0, 1]]).fetchall() == [(task.no, 1)]


def test_a_delayed_root_that_was_cancelled_does_not_come_back(conn: Conn) -> None:
    task = given_task(conn, "a -> b, c", run_at=now(conn).replace(year=2999))
    cancel_step(conn, task, "a")
    assert queues(conn) == (0, 1)
    move_clock(conn, days=365_000)
    complete(conn, task, "c")
    assert (states(conn, task), task_state(conn, task)) == ({"a": "cancelled", "b": "cancelled", "c": "completed"}, "cancelled")


def test_a_task_that_is_led_back_in_the_moment_of_its_cancellation_is_stopped_as_a_whole(conn: Conn, connect: Callable[..., Conn]) -> None:
    # Forbids: a cancellation that saw no step that could move, and goes on holding none of those that can by now.
    task = given_task(conn, "a -> b")
    complete(conn, task, "a", "b")
    leading, keeper, operator, engine = (connect() for _ in range(4))
    worker = given_worker(engine)
    keeper.execute("begin")
    with leading.transaction():
        retry_downstream(leading, task, "a")
        kept = meanwhile(lambda: keeper.execute("select from tasker_task where task_no = %s for update", [task.no]))
        until(lambda: blocks(leading, keeper, seen_by=conn))
        cancelled = meanwhile(lambda: insisting(cancel_task, operator, task))
        until(lambda: bool(value(conn, "select cardinality(pg_blocking_pids(%s))", operator.info.backend_pid)))
    kept.join(20)
    until(lambda: blocks(keeper, operator, seen_by=conn) or not cancelled.is_alive())
    with engine.transaction():
        held = claim(engine, worker=worker)
        keeper.execute("commit")
        until(lambda: blocks(engine, operator, seen_by=conn) or not cancelled.is_alive())
    cancelled.join(20)
    assert_invariants(conn)
    assert held == []
    assert (states(conn, task), task_state(conn, task)) == ({"a": "cancelled", "b": "cancelled"}, "cancelled")
