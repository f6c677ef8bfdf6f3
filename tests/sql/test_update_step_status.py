"""One move by hand: compare and set, and only moves that exist."""

from datetime import timedelta
from itertools import product

import pytest
from graphs import (
    Conn,
    Task,
    cancel_step,
    cancel_task,
    claim,
    complete,
    fail,
    given_attempts,
    given_task,
    history,
    move_clock,
    now,
    refused,
    resolve_dependencies,
    resolve_step,
    skip_step,
    start,
    states,
    task_state,
    update_status,
    waiting_for,
)
from invariants import assert_invariants

from engine.states import STEP_CODES, STEP_MOVES, StepState

ALL = list(StepState)
LEGAL = [(current, target) for current in ALL for target in ALL if target in STEP_MOVES[current]]
ILLEGAL = [pair for pair in product(ALL, ALL) if pair not in LEGAL]


def given_step(conn: Conn, state: StepState) -> Task:
    """A task whose step `a` stands in this state, with a child and a sibling."""
    task = given_task(conn, "a -> b, c", run_at=now(conn) + timedelta(hours=1) if state == "pending" else None)
    if state == "retrying":
        fail(conn, task, "a", retryable=True)
    elif state not in ("pending", "ready"):
        moves = {"running": start, "completed": complete, "failed": fail, "cancelled": cancel_step, "skipped": skip_step, "resolved": resolve_step}
        moves[str(state)](conn, task, "a")
    assert states(conn, task)["a"] == state
    return task


def test_sql_and_python_know_the_same_moves(conn: Conn) -> None:
    rows = conn.execute("select f, t from generate_series(0, 8) f, generate_series(0, 8) t where tasker_move_exists(f::smallint, t::smallint)").fetchall()
    assert set(rows) == {(STEP_CODES[current], STEP_CODES[target]) for current, target in LEGAL}


def test_sql_and_python_know_the_same_states(conn: Conn) -> None:
    for state, code in STEP_CODES.items():
        assert conn.execute("select tasker_state_code(%s), tasker_state_name(%s::smallint)", [str(state), code]).fetchone() == (code, str(state))
    assert conn.execute("select tasker_state_code('done'), tasker_state_name(9::smallint)").fetchone() == (None, None)


@pytest.mark.parametrize(("current", "target"), LEGAL)
def test_a_move_that_exists_is_made_and_recorded(conn: Conn, current: StepState, target: StepState) -> None:
    task = given_step(conn, current)
    assert update_status(conn, task, "a", current, target) is True
    assert states(conn, task)["a"] == target
    assert history(conn, task, "a")[-1] == (current, target)
    resolve_dependencies(conn, task)
    assert_invariants(conn)


@pytest.mark.parametrize(("current", "target"), ILLEGAL)
def test_a_move_that_does_not_exist_raises(conn: Conn, current: StepState, target: StepState) -> None:
    task = given_task(conn, "a")
    with refused("WF002"):
        update_status(conn, task, "a", current, target)
    assert states(conn, task) == {"a": "ready"}


@pytest.mark.parametrize("words", [("ready", "done"), ("", "running"), ("READY", "running")])
def test_a_word_that_is_no_state_raises(conn: Conn, words: tuple[str, str]) -> None:
    with refused("WF002"):
        update_status(conn, given_task(conn, "a"), "a", *words)


@pytest.mark.parametrize("current", [state for state in ALL if state not in ("ready", "completed", "cancelled", "skipped", "resolved")])
def test_a_step_that_is_not_there_is_left_alone(conn: Conn, current: StepState) -> None:
    task = given_task(conn, "a")
    target = min(STEP_MOVES[current])
    assert update_status(conn, task, "a", current, target) is False
    assert (states(conn, task), history(conn, task, "a")) == ({"a": "ready"}, [])
    assert len(claim(conn)) == 1


def test_an_unknown_step_is_told_so(conn: Conn) -> None:
    for step_id in (0, 4711, -1, 2**62):
        with refused("WF001"):
            conn.execute("select tasker_update_step_status(%s, 'ready', 'running')", [step_id])


def test_a_step_cannot_run_before_its_parents(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    for target in ("ready", "running"):
        with refused("WF002"):
            update_status(conn, task, "b", "pending", target)


def test_a_step_can_be_run_by_hand_from_begin_to_end(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    for name in ("a", "b"):
        assert update_status(conn, task, name, "ready", "running")
        assert claim(conn) == []
        assert update_status(conn, task, name, "running", "completed")
        resolve_dependencies(conn, task)
    assert (task_state(conn, task), history(conn, task)) == ("completed", [("pending", "running"), ("running", "completed")])
    assert_invariants(conn)


def test_the_move_alone_unlocks_nothing(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    start(conn, task, "a")
    update_status(conn, task, "a", "running", "completed")
    assert (states(conn, task)["b"], task_state(conn, task)) == ("pending", "running")
    assert waiting_for(conn, task, "b") == "tasker_resolve_dependencies: its parents were completed by hand"


def test_a_step_taken_from_its_worker_ignores_that_worker(conn: Conn) -> None:
    task = given_task(conn, "a")
    held = start(conn, task, "a")
    update_status(conn, task, "a", "running", "ready")
    conn.execute("select * from tasker_complete_few((select min(worker_id) from tasker_worker), 1, %s, %s, '{1}', '[null]', 0)", [[held.task_no], [0]])
    assert states(conn, task) == {"a": "ready"}


def test_a_step_put_into_its_back_off_by_hand_wakes_up(conn: Conn) -> None:
    task = given_task(conn, "a")
    start(conn, task, "a")
    update_status(conn, task, "a", "running", "retrying")
    move_clock(conn, minutes=10)
    assert [one.attempt for one in claim(conn)] == [2]
    assert_invariants(conn)


def test_a_failed_step_made_ready_by_hand_reopens_its_task(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    fail(conn, task, "a")
    update_status(conn, task, "a", "failed", "ready")
    assert task_state(conn, task) == "running"
    complete(conn, task, "a", "b")
    assert task_state(conn, task) == "completed"
    assert_invariants(conn)


def test_nothing_leads_on_in_a_cancelled_task(conn: Conn) -> None:
    task = given_task(conn, "a, b")
    fail(conn, task, "a")
    start(conn, task, "b")
    cancel_task(conn, task)
    for name, current, target in [("a", "failed", "ready"), ("a", "failed", "resolved"), ("b", "running", "ready"), ("b", "running", "retrying")]:
        with refused("WF002"):
            update_status(conn, task, name, current, target)
    assert update_status(conn, task, "b", "running", "completed")
    resolve_dependencies(conn, task)
    assert task_state(conn, task) == "cancelled"


def test_a_step_skipped_by_hand_before_its_parents_is_skipped_once(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> c", bypass_steps=["b"])
    update_status(conn, task, "b", "pending", "skipped")
    assert resolve_dependencies(conn, task) == {"c"}
    complete(conn, task, "a")
    assert history(conn, task, "b") == [("pending", "skipped")]
    complete(conn, task, "c")
    assert task_state(conn, task) == "completed"
    assert_invariants(conn)


def test_what_was_asked_to_stop_begins_anew_when_it_is_taken_back_by_hand(conn: Conn) -> None:
    task = given_task(conn, "a")
    start(conn, task, "a")
    cancel_step(conn, task, "a")
    update_status(conn, task, "a", "running", "ready")
    fail(conn, task, "a", retryable=True)
    assert states(conn, task) == {"a": "retrying"}


@pytest.mark.parametrize(("current", "target"), [pair for pair in LEGAL if pair[1] in ("ready", "running", "retrying")])
def test_no_move_leads_to_another_attempt_than_can_be_counted(conn: Conn, current: StepState, target: StepState) -> None:
    task = given_step(conn, current)
    given_attempts(conn, task, "a", 32767)
    with refused("WF002"):
        update_status(conn, task, "a", current, target)
    assert states(conn, task)["a"] == current
