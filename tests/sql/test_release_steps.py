"""Steps handed back: ready again in their old place, the attempt not charged."""

import pytest
from graphs import (
    Conn,
    attempts,
    claim,
    fail,
    given_task,
    given_worker,
    history,
    move_clock,
    names_of,
    ready,
    release,
    start,
    states,
    task_state,
    value,
)
from invariants import assert_invariants


def test_a_released_step_is_ready_and_not_charged(conn: Conn) -> None:
    task = given_task(conn, "a -> b", retry_limit=1)
    assert release(conn, [start(conn, task, "a")]) == 1
    assert (states(conn, task)["a"], attempts(conn, task)["a"], ready(conn, task)) == ("ready", 0, {"a"})
    assert history(conn, task, "a")[-1] == ("running", "ready")
    fail(conn, task, "a", retryable=True)
    assert (states(conn, task)["a"], task_state(conn, task)) == ("failed", "failed")
    assert_invariants(conn)


def test_a_released_step_queues_by_when_it_was_claimed(conn: Conn) -> None:
    first = given_task(conn, "a")
    held = start(conn, first, "a")
    later = given_task(conn, "b")
    move_clock(conn, minutes=1)
    release(conn, [held])
    assert claim(conn, want=1)[0].task_no == first.no
    assert names_of(later, claim(conn, want=1)) == {"b"}


@pytest.mark.parametrize("wrong", ["worker", "attempt"])
def test_only_the_holder_can_release(conn: Conn, wrong: str) -> None:
    task = given_task(conn, "a")
    held = start(conn, task, "a")
    assert release(conn, [held._replace(attempt=2) if wrong == "attempt" else held], worker=given_worker(conn) if wrong == "worker" else None) == 0
    assert states(conn, task) == {"a": "running"}


def test_released_twice_is_released_once(conn: Conn) -> None:
    task = given_task(conn, "a")
    held = start(conn, task, "a")
    assert [release(conn, [held, held]), release(conn, [held])] == [1, 0]
    assert value(conn, "select count(*) from tasker_ready where task_no = %s", task.no) == 1
    assert_invariants(conn)


def test_a_worker_that_ends_by_itself_leaves_nothing_behind(conn: Conn) -> None:
    task = given_task(conn, "a, b -> c")
    worker = given_worker(conn)
    assert len(claim(conn, worker=worker)) == 2
    conn.execute("select tasker_retire_worker(%s)", [worker])
    assert ready(conn, task) == {"a", "b"}
    assert set(attempts(conn, task).values()) == {0}
    assert value(conn, "select count(*) from tasker_worker where worker_id = %s", worker) == 0
    assert value(conn, "select count(*) from tasker_claim where worker_id = %s", worker) == 0
    assert_invariants(conn)


def test_a_worker_without_steps_can_retire(conn: Conn) -> None:
    worker = given_worker(conn)
    conn.execute("select tasker_retire_worker(%s)", [worker])
    conn.execute("select tasker_retire_worker(%s)", [worker])
    assert value(conn, "select count(*) from tasker_worker where worker_id = %s", worker) == 0
