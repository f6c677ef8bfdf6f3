"""What analytics hand out: plain frozen values. `engine.measures.analytics` works them out; pages and API show them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from engine.measures.quantiles import Spread
from engine.measures.spans import Range


@dataclass(frozen=True, slots=True)
class Scope:
    """Which workflows figures are about: all that one may see, or those that are named."""

    namespace: str | None = None
    name: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Ends:
    """How many tasks ended in which way, each once, as what it is now: one that failed and was led out of it counts as what it became."""

    completed_count: int = 0
    failed_count: int = 0
    cancelled_count: int = 0
    resolved_count: int = 0

    @property
    def ended_count(self) -> int:
        return self.completed_count + self.failed_count + self.cancelled_count + self.resolved_count

    @property
    def completion_rate(self) -> float | None:
        """The share that ended well: completed, or resolved by an operator."""
        return (self.completed_count + self.resolved_count) / self.ended_count if self.ended_count else None

    @property
    def error_rate(self) -> float | None:
        """The share that failed."""
        return self.failed_count / self.ended_count if self.ended_count else None


@dataclass(frozen=True, slots=True)
class Slot:
    """One bar of the charts: what ended in it, and how long what completed in it ran."""

    begins_at: datetime
    ends: Ends
    took: Spread


@dataclass(frozen=True, slots=True)
class WorkflowFigures:
    """How one version of a workflow fared."""

    namespace: str
    name: str
    version: str
    ends: Ends
    took: Spread


@dataclass(frozen=True, slots=True)
class Performance:
    """What happened in a range of time; `uncounted_count` moves are so new that nothing here knows of them, counted up to 10,001."""

    range: Range
    length: timedelta
    ends: Ends
    task: Spread
    step: Spread
    queue: Spread
    slots: tuple[Slot, ...]
    workflows: tuple[WorkflowFigures, ...]
    uncounted_count: int

    @property
    def tasks_per_hour(self) -> float:
        """Tasks that ended, per hour of the range up to now."""
        return self.ends.ended_count / (self.length / timedelta(hours=1))


@dataclass(frozen=True, slots=True)
class StepFigures:
    """How one step of one version fared. `took` is of the attempts that completed, `waited` from when it could run until an engine began.

    `failed_seconds` went into attempts that ended otherwise: retried, failed or cancelled.
    """

    namespace: str
    name: str
    version: str
    step_name: str
    took: Spread
    waited: Spread
    start_count: int
    retry_count: int
    failed_count: int
    timeout_count: int
    crash_count: int
    failed_seconds: float


@dataclass(frozen=True, slots=True)
class SlowTask:
    """A task that took long."""

    task_id: str
    version: str
    finished_at: datetime
    took_seconds: float


@dataclass(frozen=True, slots=True)
class PathShare:
    """How much of the time of its workflow's tasks one step decided: it was on the critical path of `task_count` of them, and held them up `mean_seconds` each.

    `share` is of the time of all tasks that were looked at, from their beginning to their end.
    """

    step_name: str
    task_count: int
    mean_seconds: float
    share: float


@dataclass(frozen=True, slots=True)
class CriticalPaths:
    """Where the time of a version's latest completed tasks went: by step, the one that would shorten it most first."""

    version: str
    task_count: int
    shares: tuple[PathShare, ...]


@dataclass(frozen=True, slots=True)
class Bottlenecks:
    """What holds workflows up. Single tasks and the critical path are looked at only where the scope names one workflow, among its newest tasks made before the range ends that are still kept."""

    range: Range
    slowest_steps: tuple[StepFigures, ...]
    longest_waits: tuple[StepFigures, ...]
    retry_hot_spots: tuple[StepFigures, ...]
    slowest_workflows: tuple[WorkflowFigures, ...]
    slowest_tasks: tuple[SlowTask, ...]
    critical: CriticalPaths | None
    is_of_one_workflow: bool
    uncounted_count: int
