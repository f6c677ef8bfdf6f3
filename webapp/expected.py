"""When a task is likely to end, from how long its workflow took before; says nothing where too little is known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from engine.measures.quantiles import Spread
from engine.rows import StepRow, TaskRow, UsualRow
from engine.states import FINAL_TASK, StepState

WORTH_SAYING = 1.5
TIMED = frozenset({StepState.RUNNING, StepState.COMPLETED, StepState.FAILED})


@dataclass(frozen=True, slots=True)
class Expected:
    """What is usual for the workflow, and for a running task when half and when nearly all of its like would have ended."""

    usual: UsualRow
    ends_at: datetime | None
    at_latest: datetime | None
    is_late: bool


def expected_end(task: TaskRow, usual: UsualRow | None, now: datetime) -> Expected | None:
    """None without a history. `is_late` when the task has run longer than 95 of 100 did; then no end is foretold."""
    if usual is None:
        return None
    if task.started_at is None or task.state in FINAL_TASK or task.paused:
        return Expected(usual, None, None, _took_long(task, usual))
    median, late = (task.started_at + timedelta(seconds=length) for length in (usual.median, usual.p95))
    is_late = now > late
    return Expected(usual, median if now < median else None, None if is_late else late, is_late)


def _took_long(task: TaskRow, usual: UsualRow) -> bool:
    took = task.finished_at - task.started_at if task.finished_at and task.started_at else None
    return took is not None and took.total_seconds() > usual.p95


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a task has run or took, in seconds, and how many times the usual that is where it is beyond 95 of 100."""

    length: float
    times: float | None
    is_open: bool

    @property
    def words(self) -> str:
        """`3× the usual`, `longer than usual`; empty where it is not."""
        if self.times is None:
            return ""
        return f"{self.times:.2g}× the usual" if WORTH_SAYING <= self.times < 100 else "over 99× the usual" if self.times >= 100 else "longer than usual"


def pace(task: TaskRow, usual: UsualRow | None, now: datetime) -> Pace | None:
    """None for a task that never started."""
    if task.started_at is None:
        return None
    is_open = task.state not in FINAL_TASK
    length = max(0.0, ((task.finished_at or now) - task.started_at).total_seconds())
    beyond = usual is not None and length > usual.p95 and not task.paused
    return Pace(length, length / max(usual.median, 0.001) if usual and beyond else None, is_open)


def step_pace(step: StepRow, usual: Spread | None) -> Pace | None:
    """The pace of a step's latest attempt: slow beyond 95 of 100 completed ones and WORTH_SAYING times the usual. None where it has none, as for a map step, which waits for its items."""
    if step.duration_seconds is None or step.state not in TIMED or step.kind == "map":
        return None
    times = None
    if usual and usual.p50 and usual.p95 is not None and step.duration_seconds > max(usual.p95, WORTH_SAYING * usual.p50):
        times = step.duration_seconds / usual.p50
    return Pace(step.duration_seconds, times, step.state == StepState.RUNNING)
