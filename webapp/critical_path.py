"""Which chain of steps decided, or so far decides, when a task ends. Graph, table and timeline mark it; decided without a database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from engine.rows import StepRow

NEVER = datetime.min.replace(tzinfo=UTC)


def critical_path(steps: Sequence[StepRow]) -> tuple[str, ...]:
    """Names from a root to the step that ended last, or that is busy longest; empty before anything began.

    Each step of it could begin only when the one before it had ended: shortening any other step ends the task no earlier.
    """
    known = {step.name: step for step in steps}
    begun = [step for step in steps if step.started_at]
    path: list[str] = []
    at = max(begun, key=_lateness, default=None)
    while at is not None:
        path.append(at.name)
        parents = [known[name] for name in at.parents if name in known and known[name].finished_at]
        at = max(parents, key=_lateness, default=None)
    return tuple(reversed(path))


def telling_path(steps: Sequence[StepRow]) -> tuple[str, ...]:
    """The critical path where it tells something: empty while it is one step, or in a plain chain, which is all path."""
    path = critical_path(steps)
    begun = sum(step.started_at is not None for step in steps)
    return path if 1 < len(path) < begun else ()


def _lateness(step: StepRow) -> tuple[bool, datetime, int]:
    """What has not ended is later than all that has; of several the one that has been busy longest."""
    if step.finished_at is None and step.started_at:
        return True, _turned(step.started_at), step.step_no
    return False, step.finished_at or NEVER, step.step_no


def _turned(at: datetime) -> datetime:
    return datetime.max.replace(tzinfo=UTC) - (at - NEVER)
