"""The states as Python knows them; a test beside the SQL proves that the database agrees."""

import pytest

from engine.states import (
    FINAL,
    FINAL_TASK,
    SATISFYING,
    STEP_CODES,
    STEP_MOVES,
    TASK_CODES,
    TASK_MOVES,
    StepState,
    TaskState,
    may_move,
    task_may_move,
)


def test_step_codes_follow_the_published_order() -> None:
    words = ["pending", "ready", "running", "retrying", "completed", "failed", "cancelled", "skipped", "resolved"]
    assert [state.value for state in sorted(STEP_CODES, key=STEP_CODES.__getitem__)] == words


def test_a_task_state_has_the_code_of_the_step_state_of_that_name() -> None:
    assert {state.value: code for state, code in TASK_CODES.items()} == {
        "pending": 0, "running": 2, "completed": 4, "failed": 5, "cancelled": 6, "resolved": 8,
    }  # fmt: skip


def test_every_satisfying_state_is_final() -> None:
    assert SATISFYING < FINAL


@pytest.mark.parametrize("state", sorted(FINAL - {StepState.FAILED}))
def test_nothing_leaves_a_final_step_state_but_failed(state: StepState) -> None:
    assert STEP_MOVES[state] == frozenset()


@pytest.mark.parametrize("state", sorted(FINAL_TASK - {TaskState.FAILED}))
def test_nothing_leaves_a_final_task_state_but_failed(state: TaskState) -> None:
    assert TASK_MOVES[state] == frozenset()


def test_every_state_has_its_moves_and_none_moves_to_itself() -> None:
    assert set(STEP_MOVES) == set(StepState)
    assert set(TASK_MOVES) == set(TaskState)
    assert not [state for state in StepState if may_move(state, state)]


def test_an_operator_leads_a_failed_step_on() -> None:
    assert may_move(StepState.FAILED, StepState.SKIPPED)
    assert may_move(StepState.FAILED, StepState.RESOLVED)
    assert task_may_move(TaskState.FAILED, TaskState.RUNNING)


def test_an_unlocked_step_may_be_handed_over_without_a_turn_in_the_queue() -> None:
    assert may_move(StepState.PENDING, StepState.RUNNING)
