"""The states of a task and of a step, their codes in the tables, and the moves between them. Everyone reads it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class StepState(StrEnum):
    """Where one step of one task stands."""

    PENDING = "pending"  # waits for its parents
    READY = "ready"  # may run now
    RUNNING = "running"  # one worker holds it
    RETRYING = "retrying"  # waits for its back-off
    COMPLETED = "completed"
    FAILED = "failed"  # permanent, or the attempts are used up
    CANCELLED = "cancelled"
    SKIPPED = "skipped"  # bypassed; children go on
    RESOLVED = "resolved"  # an operator supplied the outcome


class TaskState(StrEnum):
    """Where one task stands."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"  # nothing can go on and at least one step failed
    CANCELLED = "cancelled"
    RESOLVED = "resolved"


STEP_CODES: Mapping[StepState, int] = MappingProxyType({state: code for code, state in enumerate(StepState)})
TASK_CODES: Mapping[TaskState, int] = MappingProxyType({state: STEP_CODES[StepState(state)] for state in TaskState})
STEP_STATES: Mapping[int, StepState] = MappingProxyType({code: state for state, code in STEP_CODES.items()})
TASK_STATES: Mapping[int, TaskState] = MappingProxyType({code: state for state, code in TASK_CODES.items()})

SATISFYING = frozenset({StepState.COMPLETED, StepState.SKIPPED, StepState.RESOLVED})
"""Step states that let a child go on."""

FINAL = frozenset({StepState.COMPLETED, StepState.FAILED, StepState.CANCELLED, StepState.SKIPPED, StepState.RESOLVED})
"""Step states that the engine itself never leaves; an operator may still lead a step out of `failed`."""

FINAL_TASK = frozenset({TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED, TaskState.RESOLVED})
"""Task states that end a run; an operator's retry, skip or resolution may reopen a `failed` task."""

STEP_MOVES: Mapping[StepState, frozenset[StepState]] = MappingProxyType(
    {
        # to running: an engine goes on with the child it has just unlocked, without a turn in the queue
        StepState.PENDING: frozenset(
            {StepState.READY, StepState.RUNNING, StepState.CANCELLED, StepState.SKIPPED, StepState.RESOLVED}
        ),
        StepState.READY: frozenset({StepState.RUNNING, StepState.CANCELLED, StepState.SKIPPED, StepState.RESOLVED}),
        StepState.RUNNING: frozenset(
            {StepState.COMPLETED, StepState.FAILED, StepState.RETRYING, StepState.READY, StepState.CANCELLED}
        ),
        StepState.RETRYING: frozenset(
            {StepState.READY, StepState.RUNNING, StepState.CANCELLED, StepState.SKIPPED, StepState.RESOLVED}
        ),
        StepState.COMPLETED: frozenset(),
        StepState.FAILED: frozenset({StepState.READY, StepState.SKIPPED, StepState.RESOLVED}),
        StepState.CANCELLED: frozenset(),
        StepState.SKIPPED: frozenset(),
        StepState.RESOLVED: frozenset(),
    }
)
"""From each step state, the states it may move to. A map step also goes back from running to pending while its items are at work;
nobody can ask for that."""

TASK_MOVES: Mapping[TaskState, frozenset[TaskState]] = MappingProxyType(
    {
        TaskState.PENDING: frozenset(
            {TaskState.RUNNING, TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED, TaskState.RESOLVED}
        ),
        TaskState.RUNNING: frozenset({TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED, TaskState.RESOLVED}),
        TaskState.COMPLETED: frozenset(),
        TaskState.FAILED: frozenset(
            {TaskState.RUNNING, TaskState.PENDING, TaskState.COMPLETED, TaskState.CANCELLED, TaskState.RESOLVED}
        ),
        TaskState.CANCELLED: frozenset(),
        TaskState.RESOLVED: frozenset(),
    }
)
"""From each task state, the states it may move to."""


def may_move(current: StepState, target: StepState) -> bool:
    """Whether a step in `current` may move to `target`."""
    return target in STEP_MOVES[current]


def task_may_move(current: TaskState, target: TaskState) -> bool:
    """Whether a task in `current` may move to `target`."""
    return target in TASK_MOVES[current]
