"""What has waited long enough becomes ready, once."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from graphs import (
    Conn,
    claim,
    complete,
    fail,
    given_task,
    given_worker,
    history,
    move_clock,
    now,
    ready,
    reap,
    resolve_step,
    start,
    states,
    value,
)
from invariants import assert_invariants

STEADY = {"base": 60.0, "jitter": 0.0}


def wake(conn: Conn, limit: int = 1000) -> int:
    return int(value(conn, "select tasker_wake_due(%s)", limit))


def test_only_what_is_due_wakes(conn: Conn) -> None:
    first, second = given_task(conn, "a", backoff=STEADY), given_task(conn, "a", run_at=now(conn) + timedelta(hours=1))
    fail(conn, first, "a", retryable=True)
    assert wake(conn) == 0
    move_clock(conn, seconds=60)
    assert (wake(conn), states(conn, first), states(conn, second)) == (1, {"a": "ready"}, {"a": "pending"})
    move_clock(conn, hours=1)
    assert (wake(conn), wake(conn), states(conn, second)) == (1, 0, {"a": "ready"})
    assert_invariants(conn)


def test_the_longest_due_wakes_first_and_no_more_than_the_limit(conn: Conn) -> None:
    start = now(conn)
    tasks = [given_task(conn, "a", run_at=start + timedelta(minutes=minutes)) for minutes in (30, 10, 20)]
    move_clock(conn, hours=1)
    assert wake(conn, 2) == 2
    assert [states(conn, task)["a"] for task in tasks] == ["pending", "ready", "ready"]


def test_a_woken_step_ranks_by_when_it_was_due(conn: Conn) -> None:
    task = given_task(conn, "a", backoff=STEADY)
    fail(conn, task, "a", retryable=True)
    due = value(conn, "select run_at from tasker_delayed")
    move_clock(conn, hours=1)
    wake(conn)
    assert value(conn, "select rank from tasker_ready") == due


@pytest.mark.parametrize("name", ["a", "b"])
def test_what_an_engine_was_at_when_it_died_keeps_its_turn(conn: Conn, name: str) -> None:
    task = given_task(conn, "a -> b")
    move_clock(conn, seconds=1)
    if name == "b":
        complete(conn, task, "a")
    start(conn, task, name, worker=given_worker(conn, lease=timedelta(seconds=30)))
    for _ in range(3):
        move_clock(conn, seconds=1)
        given_task(conn, "a -> b")
    move_clock(conn, seconds=30)
    assert reap(conn) == 1
    assert [one[:2] for one in claim(conn, want=1)] == [(task.no, task.step_no(name))]
    assert_invariants(conn)


def test_waking_is_not_on_record_for_the_wait_was(conn: Conn) -> None:
    task = given_task(conn, "a", backoff=STEADY)
    fail(conn, task, "a", retryable=True)
    before = history(conn, task, "a")
    move_clock(conn, hours=1)
    wake(conn)
    assert history(conn, task, "a") == before


def test_a_row_whose_step_has_moved_on_is_dropped(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    resolve_step(conn, task, "a")
    conn.execute("insert into tasker_delayed (run_at, task_no, step_no) values (tasker_clock(), %s, 0)", [task.no])
    assert (wake(conn), states(conn, task)) == (0, {"a": "resolved", "b": "ready"})
    assert value(conn, "select count(*) from tasker_delayed") == 0


def test_bypassed_roots_are_skipped_when_their_time_comes(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> c", bypass_steps=["a", "b"])
    assert (ready(conn, task), wake(conn)) == (set(), 0)
    assert states(conn, task) == {"a": "skipped", "b": "skipped", "c": "ready"}
    assert_invariants(conn)


def test_what_another_session_is_waking_is_left_to_it(connect: Callable[..., Conn], conn: Conn) -> None:
    # Forbids: a claim that stands in line behind another claim's wake-up.
    task = given_task(conn, "a", backoff=STEADY)
    fail(conn, task, "a", retryable=True, delay=0)
    other = connect()
    with other.transaction():
        assert wake(other) == 1
        conn.execute("set statement_timeout = '5s'")
        assert wake(conn) == 0
    assert states(conn, task) == {"a": "ready"}
    assert_invariants(conn)
