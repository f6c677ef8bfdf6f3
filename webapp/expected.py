"""When a task is likely to end, from how long its workflow took before; says nothing where too little is known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from engine.rows import TaskRow, UsualRow
from engine.states import FINAL_TASK


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
