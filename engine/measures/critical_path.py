"""Which chain of steps decided, or so far decides, when a task ends. Pages mark it, analytics add it up; decided without a database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol, TypeVar

NEVER = datetime.min.replace(tzinfo=UTC)


class TimedStep(Protocol):
    """What is asked about a step."""

    @property
    def name(self) -> str: ...
    @property
    def step_no(self) -> int: ...
    @property
    def parents(self) -> tuple[str, ...]: ...
    @property
    def started_at(self) -> datetime | None: ...
    @property
    def finished_at(self) -> datetime | None: ...


Step = TypeVar("Step", bound=TimedStep)


def critical_path(steps: Sequence[TimedStep]) -> tuple[str, ...]:
    """Names from a root to the step that ended last, or that is busy longest; empty before anything began.

    Each step of it could begin only when the one before it had ended: shortening any other step ends the task no earlier.
    """
    return tuple(step.name for step in critical_steps(steps))


def critical_steps(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The same chain as the steps themselves."""
    known = {step.name: step for step in steps}
    begun = [step for step in steps if step.started_at]
    path: list[Step] = []
    at = max(begun, key=_lateness, default=None)
    while at is not None:
        path.append(at)
        parents = [known[name] for name in at.parents if name in known and known[name].finished_at]
        at = max(parents, key=_lateness, default=None)
    return tuple(reversed(path))


def _lateness(step: TimedStep) -> tuple[bool, datetime, int]:
    """What has not ended is later than all that has; of several the one that has been busy longest."""
    if step.finished_at is None and step.started_at:
        return True, _turned(step.started_at), step.step_no
    return False, step.finished_at or NEVER, step.step_no


def _turned(at: datetime) -> datetime:
    return datetime.max.replace(tzinfo=UTC) - (at - NEVER)
