"""`tasker_retry_downstream`: a step that has ended and everything below it run again."""

import threading
from collections.abc import Callable

import psycopg
import pytest
from graphs import (
    Conn,
    attempts,
    blocks,
    cancel_step,
    cancel_task,
    claim,
    complete,
    decide,
    expand,
    expand_held,
    fail,
    given_attempts,
    given_task,
    given_worker,
    history,
    insisting,
    meanwhile,
    names_of,
    own_worker,
    pause_task,
    ready,
    refused,
    report,
    resolve_dependencies,
    resolve_step,
    resume_task,
    retry_downstream,
    skip_step,
    start,
    states,
    task_state,
    until,
    update_status,
    value,
)
from invariants import assert_invariants, stale_rows


def test_a_completed_step_and_all_below_it_run_again(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> d, a -> c -> d, e")
    complete(conn, task, "a", "e", "b", "c", "d", result=1)
    assert retry_downstream(conn, task, "b") == "ready"
    assert states(conn, task) == {"a": "completed", "b": "ready", "c": "completed", "d": "pending", "e": "completed"}
    assert task_state(conn, task) == "running"
    assert value(conn, "select count(*) from tasker_step where task_no = %s and result is null", task.no) == 2
    complete(conn, task, "b", "d")
    assert task_state(conn, task) == "completed"
    assert attempts(conn, task) == {"a": 1, "b": 2, "c": 1, "d": 2, "e": 1}
    assert history(conn, task) == [("pending", "running"), ("running", "completed"), ("completed", "running"), ("running", "completed")]
    assert_invariants(conn)


def test_a_failed_task_is_led_out_of_failure(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> c", retry_limit=1)
    complete(conn, task, "a")
    fail(conn, task, "b")
    assert task_state(conn, task) == "failed"
    assert retry_downstream(conn, task, "a") == "ready"
    assert states(conn, task) == {"a": "ready", "b": "pending", "c": "pending"}
    complete(conn, task, "a", "b", "c")
    assert task_state(conn, task) == "completed"


def test_attempts_are_granted_anew_and_their_numbers_go_on(conn: Conn) -> None:
    task = given_task(conn, "a", retry_limit=2)
    fail(conn, task, "a")
    retry_downstream(conn, task, "a")
    assert value(conn, "select retry_limit from tasker_step where task_no = %s", task.no) == 3


def test_what_was_ready_or_waiting_below_leaves_the_queue(conn: Conn) -> None:
    task = given_task(conn, "a -> b, a -> c", backoff={"base": 60.0})
    complete(conn, task, "a")
    fail(conn, task, "c", retryable=True)
    retry_downstream(conn, task, "a")
    assert ready(conn, task) == {"a"}
    assert stale_rows(conn) == 0
    assert_invariants(conn)


def test_skipped_and_resolved_steps_run_this_time_a_bypassed_one_does_not(conn: Conn) -> None:
    task = given_task(conn, "a -> b, a -> c, a -> d", bypass_steps=["d"])
    complete(conn, task, "a")
    skip_step(conn, task, "b")
    resolve_step(conn, task, "c", {"by": "hand"})
    assert task_state(conn, task) == "completed"
    retry_downstream(conn, task, "a")
    complete(conn, task, "a")
    assert states(conn, task) == {"a": "completed", "b": "ready", "c": "ready", "d": "skipped"}
    assert_invariants(conn)


def test_a_step_whose_parent_is_open_waits_for_it(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> c")
    complete(conn, task, "a", "b")
    retry_downstream(conn, task, "a")
    resolve_step(conn, task, "b")
    assert retry_downstream(conn, task, "b") == "pending"
    assert ready(conn, task) == {"a"}
    assert_invariants(conn)


def test_what_waits_for_a_cancelled_step_stays_as_it_is(conn: Conn) -> None:
    task = given_task(conn, "a -> c, b -> c, a -> d")
    complete(conn, task, "a")
    cancel_step(conn, task, "b")
    complete(conn, task, "d")
    retry_downstream(conn, task, "a")
    assert states(conn, task) == {"a": "ready", "b": "cancelled", "c": "cancelled", "d": "pending"}
    with refused("WF002"):
        retry_downstream(conn, task, "c")
    assert_invariants(conn)


def test_a_cancelled_step_can_be_taken_up_again(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> c")
    complete(conn, task, "a")
    cancel_step(conn, task, "b")
    assert task_state(conn, task) == "cancelled"
    retry_downstream(conn, task, "b")
    complete(conn, task, "b", "c")
    assert task_state(conn, task) == "completed"


def test_the_results_of_before_are_on_record(conn: Conn) -> None:
    task = given_task(conn, "a")
    complete(conn, task, "a", result={"charged": 40})
    retry_downstream(conn, task, "a")
    row = conn.execute("select actor, reason, detail from tasker_history where task_no = %s and from_state = 4 and step_no = 0", [task.no]).fetchone()
    assert row == ("ann", "all of it", {"reset": True, "result": {"charged": 40}})


def test_a_new_context_is_stored_and_the_old_one_kept_in_the_history(conn: Conn) -> None:
    task = given_task(conn, "a", context={"order_id": 1})
    complete(conn, task, "a")
    retry_downstream(conn, task, "a", {"order_id": 2})
    assert value(conn, "select context from tasker_task where task_no = %s", task.no) == {"order_id": 2}
    assert value(conn, "select detail from tasker_history where task_no = %s and detail ? 'context_before'", task.no) == {"context_before": {"order_id": 1}}


@pytest.mark.parametrize("open_state", ["pending", "ready", "retrying"])
def test_a_step_that_has_not_ended_is_refused(conn: Conn, open_state: str) -> None:
    task = given_task(conn, "a -> b")
    if open_state == "retrying":
        fail(conn, task, "a", retryable=True)
    with refused("WF002"):
        retry_downstream(conn, task, "b" if open_state == "pending" else "a")


def test_while_something_of_the_task_runs_it_is_refused(conn: Conn) -> None:
    task = given_task(conn, "a, b")
    complete(conn, task, "a")
    start(conn, task, "b")
    with refused("WF002"):
        retry_downstream(conn, task, "a")
    complete(conn, task, "b")
    assert retry_downstream(conn, task, "a") == "ready"


def test_nothing_leads_out_of_a_cancelled_task(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    complete(conn, task, "a")
    cancel_task(conn, task)
    with refused("WF002"):
        retry_downstream(conn, task, "a")


def test_in_a_paused_task_it_waits(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    complete(conn, task, "a")
    pause_task(conn, task)
    retry_downstream(conn, task, "a")
    assert claim(conn) == []
    assert_invariants(conn)
    resume_task(conn, task)
    assert names_of(task, claim(conn)) == {"a"}


def test_unknown_steps_and_tasks_are_refused(conn: Conn) -> None:
    task = given_task(conn, "a")
    with refused("WF001"):
        retry_downstream(conn, task, "z")


CHOOSES = {"decision": True, "handler_class": "flows.decide"}


def test_what_was_passed_over_with_all_before_it_runs_when_it_is_chosen_at_last(conn: Conn) -> None:
    task = given_task(conn, "d -> a -> b, d -> c", steps={"d": CHOOSES})
    decide(conn, task, "d", "c")
    complete(conn, task, "c")
    assert states(conn, task) == {"d": "completed", "a": "skipped", "b": "skipped", "c": "completed"}
    retry_downstream(conn, task, "d")
    decide(conn, task, "d", "a")
    complete(conn, task, "a")
    assert states(conn, task) == {"d": "completed", "a": "completed", "b": "ready", "c": "skipped"}
    assert_invariants(conn)


def test_what_is_to_be_bypassed_stays_so_when_it_was_passed_over_first(conn: Conn) -> None:
    task = given_task(conn, "d -> a -> b, d -> c", steps={"d": CHOOSES}, bypass_steps=["a"])
    decide(conn, task, "d", "c")
    complete(conn, task, "c")
    retry_downstream(conn, task, "d")
    decide(conn, task, "d", "a")
    assert states(conn, task) == {"d": "completed", "a": "skipped", "b": "ready", "c": "skipped"}
    assert_invariants(conn)


def test_what_was_passed_over_and_waits_for_a_cancelled_step_is_left_as_it_is(conn: Conn) -> None:
    task = given_task(conn, "d -> a, x -> a, d -> c", steps={"d": CHOOSES})
    decide(conn, task, "d", "c")
    cancel_step(conn, task, "x")
    complete(conn, task, "c")
    retry_downstream(conn, task, "d")
    assert states(conn, task) == {"d": "ready", "a": "skipped", "x": "cancelled", "c": "pending"}
    assert_invariants(conn)


@pytest.mark.parametrize("spent", ["a", "b"])
def test_no_step_runs_again_that_was_tried_as_often_as_can_be_counted(conn: Conn, spent: str) -> None:
    task = given_task(conn, "a -> b, c")
    complete(conn, task, "a", "b", "c")
    given_attempts(conn, task, spent, 32767)
    with refused("WF002"):
        retry_downstream(conn, task, "a")
    assert states(conn, task) == {"a": "completed", "b": "completed", "c": "completed"}
    assert retry_downstream(conn, task, "c") == "ready"


# ---- what happens at once


def test_items_that_are_made_in_this_moment_are_not_led_back_behind_their_engines_back(conn: Conn, connect: Callable[..., Conn]) -> None:
    # Forbids: that it goes on without holding the items which it did not see, and ends one that was claimed meanwhile.
    task = given_task(conn, "list -> m", steps={"m": {"for_each": "list", "handler_class": "flows.work"}})
    complete(conn, task, "list", result=[1, 2])
    due = start(conn, task, "m")
    making, first, keeper, operator, engine = (connect() for _ in range(5))
    worker, refusals = given_worker(engine), []

    def led_back() -> None:
        try:
            insisting(retry_downstream, operator, task, "list")
        except psycopg.Error as error:
            refusals.append(error.sqlstate)

    with first.transaction():
        first.execute("select from tasker_step where task_no = %s and step_no = %s for update", [task.no, task.step_no("list")])
        with making.transaction():
            expand_held(making, due, worker=own_worker(conn))
            acting = meanwhile(led_back)
            until(lambda: blocks(first, operator, seen_by=conn))
        keeper.execute("begin")
        keeper.execute("select from tasker_task where task_no = %s for update", [task.no])
    until(lambda: blocks(keeper, operator, seen_by=conn))
    with engine.transaction():
        held = claim(engine, want=1, worker=worker)
        keeper.execute("commit")
        until(lambda: blocks(engine, operator, seen_by=conn) or not acting.is_alive())
    acting.join(20)
    assert refusals == ["WF002"], "an item is running"
    assert_invariants(conn)
    report(conn, held, worker=worker)
    report(conn, claim(conn))
    expand(conn, task, "m")
    assert task_state(conn, task) == "completed"
    assert_invariants(conn)


def test_what_has_run_again_meanwhile_is_not_set_back_by_who_resolves_dependencies(conn: Conn, connect: Callable[..., Conn]) -> None:
    # Forbids: an action that holds only what could move before the task was led back, and moves what others are moving.
    task = given_task(conn, "a -> b, x")
    complete(conn, task, "a", "b")
    fail(conn, task, "x")
    leading, keeper, resolving, engine = (connect() for _ in range(4))
    ended, go_on = threading.Event(), threading.Event()

    def run_again() -> None:
        with engine.transaction():
            resolve_dependencies(engine, task)
            complete(engine, task, "b")
            ended.set()
            go_on.wait(20)

    keeper.execute("begin")
    with leading.transaction():
        skip_step(leading, task, "x")
        retry_downstream(leading, task, "a")
        assert update_status(leading, task, "a", "ready", "running")
        assert update_status(leading, task, "a", "running", "completed")
        kept = meanwhile(lambda: keeper.execute("select from tasker_step where task_no = %s and step_no = %s for update", [task.no, task.step_no("x")]))
        until(lambda: blocks(leading, keeper, seen_by=conn))
        resolved = meanwhile(lambda: insisting(resolve_dependencies, resolving, task))
        until(lambda: bool(value(conn, "select cardinality(pg_blocking_pids(%s))", resolving.info.backend_pid)))
    kept.join(20)
    until(lambda: blocks(keeper, resolving, seen_by=conn) or not resolved.is_alive())
    running = meanwhile(lambda: insisting(run_again))
    until(lambda: ended.is_set() or blocks(resolving, engine, seen_by=conn))
    keeper.execute("commit")
    until(lambda: blocks(engine, resolving, seen_by=conn) or not resolved.is_alive())
    go_on.set()
    resolved.join(20)
    running.join(20)
    assert_invariants(conn)
    assert (states(conn, task), task_state(conn, task)) == ({"a": "completed", "b": "completed", "x": "skipped"}, "completed")
