"""Attempts that end badly: back-off while attempts are left and the error allows it, else the end of the step."""

import json

import pytest
from graphs import (
    Conn,
    Held,
    attempts,
    cancel_step,
    claim,
    complete,
    fail,
    fail_all,
    given_task,
    given_worker,
    history,
    move_clock,
    own_worker,
    readiness,
    ready,
    retry_wait,
    start,
    states,
    task_state,
    value,
)
from invariants import assert_invariants

STEADY = {"base": 10.0, "multiplier": 3.0, "cap": 200.0, "jitter": 0.0}


def test_a_retryable_failure_waits_for_its_back_off(conn: Conn) -> None:
    task = given_task(conn, "a -> b", backoff=STEADY)
    fail(conn, task, "a", retryable=True)
    assert states(conn, task) == {"a": "retrying", "b": "pending"}
    assert (claim(conn), ready(conn, task)) == ([], set())
    move_clock(conn, seconds=10)
    assert claim(conn) == [Held(task.no, 0, 2)]
    assert_invariants(conn)


def test_the_wait_grows_to_its_cap(conn: Conn) -> None:
    task = given_task(conn, "a", backoff=STEADY, retry_limit=6)
    waits = []
    for _ in range(5):
        fail(conn, task, "a", retryable=True)
        waits.append(round(retry_wait(conn, task, "a")))
        move_clock(conn, seconds=200)
    assert waits == [10, 30, 90, 200, 200]


def test_an_uncharged_failure_waits_as_long_as_it_says_and_costs_no_attempt(conn: Conn) -> None:
    task = given_task(conn, "a -> b", backoff=STEADY, retry_limit=1)
    for _ in range(2):
        fail(conn, task, "a", retryable=False, delay=7, uncharged=True)
        assert (states(conn, task)["a"], attempts(conn, task)["a"], claim(conn)) == ("retrying", 0, [])
        assert round(retry_wait(conn, task, "a")) == 7
        assert_invariants(conn)
        move_clock(conn, seconds=7)
        assert claim(conn) == [Held(task.no, 0, 1)]
    cancel_step(conn, task, "a")
    fail(conn, task, "a", uncharged=True)
    assert (states(conn, task)["a"], attempts(conn, task)["a"]) == ("cancelled", 1)
    assert_invariants(conn)


@pytest.mark.parametrize("jitter", [0.1, 1.0])
def test_jitter_keeps_the_wait_within_its_share(conn: Conn, jitter: float) -> None:
    task = given_task(conn, "a", backoff={"base": 100.0, "jitter": jitter, "cap": 400.0})
    for attempt, wait in [(1, 100.0), (2, 200.0), (3, 400.0), (9, 400.0)]:
        query = "select extract(epoch from tasker_backoff(%s, 0, %s, null))::float8 from generate_series(1, 200)"
        found = [row[0] for row in conn.execute(query, [task.definition_id, attempt]).fetchall()]
        assert wait * (1 - jitter) <= min(found) < max(found) <= wait * (1 + jitter)
        assert max(found) - min(found) > wait * jitter


@pytest.mark.parametrize(("delay", "wait"), [(0.0, 0.0), (4.5, 4.5), (1000.0, 1000.0), (-3.0, 0.0), (1e300, 315360000.0)])
def test_a_delay_the_handler_asked_for_wins(conn: Conn, delay: float, wait: float) -> None:
    found = value(conn, "select extract(epoch from tasker_backoff(%s, 0, 1, %s))::float8", given_task(conn, "a").definition_id, delay)
    assert found == wait


def test_the_wait_is_sound_at_the_largest_settings(conn: Conn) -> None:
    task = given_task(conn, "a", backoff={"base": 31622400.0, "multiplier": 100.0, "cap": 31622400.0, "jitter": 1.0}, retry_limit=1000)
    assert 0 <= value(conn, "select extract(epoch from tasker_backoff(%s, 0, 1000, null))::float8", task.definition_id) <= 2 * 31622400


def test_a_step_fails_when_its_attempts_are_used_up(conn: Conn) -> None:
    task = given_task(conn, "a", retry_limit=2)
    fail(conn, task, "a", retryable=True, delay=0)
    assert states(conn, task) == {"a": "retrying"}
    fail(conn, task, "a", retryable=True, delay=0)
    assert (states(conn, task), task_state(conn, task)) == ({"a": "failed"}, "failed")
    assert_invariants(conn)


def test_a_step_that_is_not_retryable_has_one_attempt(conn: Conn) -> None:
    task = given_task(conn, "a", retryable=False)
    fail(conn, task, "a", retryable=True)
    assert states(conn, task) == {"a": "failed"}


def test_an_error_that_is_not_retryable_ends_the_step_at_once(conn: Conn) -> None:
    task = given_task(conn, "a", retry_limit=5)
    fail(conn, task, "a", retryable=False)
    assert states(conn, task) == {"a": "failed"}
    assert value(conn, "select finished_at is not null from tasker_step where task_no = %s", task.no) is True


def test_the_error_is_kept_without_its_instructions(conn: Conn) -> None:
    task = given_task(conn, "a")
    fail(conn, task, "a", type="PermanentError", message="card refused", code="E1", retryable=False)
    kept = {"type": "PermanentError", "message": "card refused", "code": "E1", "traceback": ""}
    assert value(conn, "select error from tasker_step where task_no = %s", task.no) == kept
    assert value(conn, "select detail from tasker_history where task_no = %s and to_state = 5 and step_no = 0", task.no) == kept


def test_the_history_of_a_retry_tells_when_it_is_due(conn: Conn) -> None:
    task = given_task(conn, "a")
    fail(conn, task, "a", retryable=True)
    told = value(conn, "select (detail ->> 'run_at')::timestamptz from tasker_history where task_no = %s and to_state = 3", task.no)
    assert told == readiness(conn, task)["a"]["next_retry_at"]
    assert history(conn, task, "a") == [("ready", "running"), ("running", "retrying")]


@pytest.mark.parametrize("wrong", ["worker", "attempt", "state"])
def test_a_failure_counts_only_from_the_worker_and_attempt_that_hold_the_step(conn: Conn, wrong: str) -> None:
    task = given_task(conn, "a")
    held = Held(task.no, 0, 0) if wrong == "state" else start(conn, task, "a")
    before = states(conn, task)
    fail_all(conn, [held._replace(attempt=7) if wrong == "attempt" else held], worker=given_worker(conn) if wrong == "worker" else own_worker(conn))
    assert states(conn, task) == before
    assert_invariants(conn)


def test_the_same_failure_twice_counts_once(conn: Conn) -> None:
    task = given_task(conn, "a")
    held = start(conn, task, "a")
    fail_all(conn, [held, held], worker=own_worker(conn), retryable=True)
    fail_all(conn, [held], worker=own_worker(conn), retryable=True)
    assert history(conn, task, "a") == [("ready", "running"), ("running", "retrying")]
    assert_invariants(conn)


def test_many_failures_of_many_tasks_in_one_call(conn: Conn) -> None:
    tasks = [given_task(conn, "a -> c, b -> c, d") for _ in range(4)]
    fail_all(conn, claim(conn), worker=own_worker(conn))
    for task in tasks:
        assert states(conn, task) == {"a": "failed", "b": "failed", "c": "pending", "d": "failed"}
        assert (task_state(conn, task), history(conn, task)) == ("failed", [("pending", "running"), ("running", "failed")])
    assert_invariants(conn)


def test_later_failures_take_only_what_they_block_off_the_count(conn: Conn) -> None:
    task = given_task(conn, "a -> x, b -> y, c -> z -> w")
    for name in ("a", "b", "c"):
        assert task_state(conn, task) in ("pending", "running")
        fail(conn, task, name)
        assert_invariants(conn)
    assert task_state(conn, task) == "failed"


# ---- what a failure means for the task


def test_a_failed_branch_does_not_block_an_independent_branch(conn: Conn) -> None:
    task = given_task(conn, "a -> b, c -> d")
    fail(conn, task, "a")
    assert task_state(conn, task) == "running"
    complete(conn, task, "c", "d")
    assert states(conn, task) == {"a": "failed", "b": "pending", "c": "completed", "d": "completed"}
    assert_invariants(conn)


def test_a_task_fails_only_when_nothing_can_progress(conn: Conn) -> None:
    task = given_task(conn, "a -> d, b -> d, c")
    fail(conn, task, "a")
    complete(conn, task, "b")
    assert task_state(conn, task) == "running"
    complete(conn, task, "c")
    assert task_state(conn, task) == "failed"
    assert history(conn, task) == [("pending", "running"), ("running", "failed")]
    assert_invariants(conn)


def test_a_task_waits_for_a_retry_before_it_fails(conn: Conn) -> None:
    task = given_task(conn, "a, b")
    fail(conn, task, "a", retryable=True)
    fail(conn, task, "b")
    assert task_state(conn, task) == "running"
    move_clock(conn, minutes=10)
    complete(conn, task, "a")
    assert task_state(conn, task) == "failed"


def test_a_blocked_branch_is_reported_at_once(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> c, d")
    fail(conn, task, "a")
    assert task_state(conn, task) == "running"
    found = {name: row["waiting_for"] for name, row in readiness(conn, task).items()}
    assert found["b"] == found["c"] == "blocked: a failed; retry, skip or resolve it"
    assert found["a"] == ""


def test_an_error_without_a_word_on_retrying_is_final(conn: Conn) -> None:
    task = given_task(conn, "a", retry_limit=5)
    held = start(conn, task, "a")
    conn.execute("select tasker_fail_steps(%s, %s, %s, %s, %s::jsonb)", [own_worker(conn), [held.task_no], [0], [1], json.dumps([{"type": "E", "message": "m"}])])
    assert (states(conn, task), task_state(conn, task)) == ({"a": "failed"}, "failed")
    assert_invariants(conn)
