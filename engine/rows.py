"""What the read side hands out: plain frozen values, one class per kind of row. Pages, API and command line show these."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from engine.definition import is_prerelease
from engine.gates import Limit
from engine.states import SATISFYING
from engine.timing import Policy, Timing


@dataclass(frozen=True, slots=True)
class NamespaceRow:
    name: str
    description: str
    workflow_count: int
    definition_count: int
    open_task_count: int
    failed_task_count: int
    retention: timedelta | None = None
    is_archived: bool = False
    archive_fails: bool = False


@dataclass(frozen=True, slots=True)
class RetentionRow:
    """How long a namespace keeps a task after its end, None for ever; `by_default` when it has no setting of its own."""

    namespace: str
    retention: timedelta | None
    by_default: bool
    set_by: str | None
    set_at: datetime | None


@dataclass(frozen=True, slots=True)
class ArchiveRow:
    """Where a namespace's tasks are written before they are dropped, None nowhere; how many were, and why the last batch could not be, None when it was."""

    namespace: str
    place: str | None
    by_default: bool
    set_by: str | None
    set_at: datetime | None
    task_count: int
    written_at: datetime | None
    error: str | None
    failed_at: datetime | None


@dataclass(frozen=True, slots=True)
class WorkflowRow:
    """A name within a namespace, with its versions, newest first by semantic order."""

    namespace: str
    name: str
    description: str
    versions: tuple[str, ...]
    task_count: int
    open_task_count: int
    failed_task_count: int
    last_task_at: datetime | None

    @property
    def offered_version(self) -> str:
        """The version to launch when none is named: the highest release, or the newest where there are pre-releases only."""
        return next((version for version in self.versions if not is_prerelease(version)), self.versions[0])


@dataclass(frozen=True, slots=True)
class TemplateRow:
    """A step as its definition describes it; parents and children are step numbers.

    `for_each` tells where a map step finds its list: `orders`, or `orders.items`. `limit` is in words, as it is now: `2 at once, 60 per minute`.
    """

    step_no: int
    name: str
    description: str
    handler: str | None
    parents: tuple[int, ...]
    children: tuple[int, ...]
    retryable: bool
    retry_limit: int
    timeout_ms: int | None
    backoff: dict[str, float]
    output_schema: dict[str, Any] | None
    handler_config: dict[str, Any]
    decision: bool = False
    for_each: str | None = None
    resources: dict[str, float] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    limit: str | None = None

    @property
    def kind(self) -> str:
        """`decision`, `map` or `step`."""
        return "decision" if self.decision else "step" if self.for_each is None else "map"


@dataclass(frozen=True, slots=True)
class DefinitionRow:
    definition_id: int
    namespace: str
    name: str
    version: str
    description: str
    schema: dict[str, Any] | None
    created_at: datetime
    steps: tuple[TemplateRow, ...]

    @property
    def key(self) -> str:
        """`namespace/name@version`."""
        return f"{self.namespace}/{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One line of a list of tasks. `done_count` counts the steps that satisfy their children."""

    task_id: str
    namespace: str
    name: str
    version: str
    state: str
    paused: bool
    priority: int
    tags: tuple[str, ...]
    initiator: str | None
    correlation_id: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    run_at: datetime | None
    step_count: int
    done_count: int
    failed_count: int


@dataclass(frozen=True, slots=True)
class TaskPage:
    """A page of a list, newest first; `next_cursor` is None on the last one."""

    items: tuple[TaskRow, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class ProgressRow:
    """How far a step's present or latest attempt came: `done` of `total`, None where that is not known."""

    done: float
    total: float | None
    note: str | None
    at: datetime

    @property
    def words(self) -> str:
        """`1,200 of 5,000`, or `1,200 done` where the total is not known."""
        done = _number(self.done)
        return f"{done} done" if self.total is None else f"{done} of {_number(self.total)}"


@dataclass(frozen=True, slots=True)
class LineRow:
    """One line of an attempt's log; `level` is debug, info, warning, error or critical."""

    line_no: int
    step_name: str
    attempt: int
    at: datetime
    level: str
    message: str
    fields: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class LinePage:
    """Lines in the order in which they were written. There are others before `earlier` and after `later`, None at either end."""

    items: tuple[LineRow, ...]
    earlier: int | None
    later: int | None


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step of a task with what it waits for; `waiting_for` is empty once it has ended. `kind` is decision, map, item or step.

    `item_states` of a map step that has made its items counts them by state. An item of it has its place in the list, `item_no`, and the name of
    the map step, `item_of`. `duration_seconds` is how long the last attempt has taken; None where a person ended the step, which may have been days later.
    """

    step_id: int
    step_no: int
    name: str
    state: str
    attempts: int
    retry_limit: int
    parents: tuple[str, ...]
    children: tuple[str, ...]
    satisfied_parents: int
    started_at: datetime | None
    finished_at: datetime | None
    next_retry_at: datetime | None
    waiting_for: str
    error: dict[str, Any] | None
    duration_seconds: float | None
    engine: str | None
    bypass: bool
    passed_over: bool = False
    kind: str = "step"
    item_of: str | None = None
    item_no: int | None = None
    item_states: dict[str, int] | None = None
    progress: ProgressRow | None = None

    @property
    def item_count(self) -> int:
        """How many items a map step has made."""
        return sum((self.item_states or {}).values())

    @property
    def items_done(self) -> int:
        """How many of them let the map step go on."""
        return sum(number for state, number in (self.item_states or {}).items() if state in SATISFYING)


@dataclass(frozen=True, slots=True)
class TaskDetail:
    task: TaskRow
    context: dict[str, Any]
    reason: str | None
    source_system: str | None
    cancel_requested_at: datetime | None
    definition_id: int
    steps: tuple[StepRow, ...]
    parent_task_id: str | None = None
    parent_step: str | None = None


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One execution of a step; `state` is how it ended (completed, retrying, failed, cancelled, ready = handed back), or running."""

    attempt: int
    state: str
    started_at: datetime
    finished_at: datetime | None
    duration_seconds: float | None
    engine: str | None
    error: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class StepDetail:
    """One step with what it was given and what became of it; `steps` are all steps of its task."""

    row: StepRow
    task: TaskRow
    template: TemplateRow
    input: dict[str, Any]
    parent_results: dict[str, Any]
    result: Any
    attempts: tuple[AttemptRow, ...]
    steps: tuple[StepRow, ...]
    definition_id: int
    item: Any = None


@dataclass(frozen=True, slots=True)
class ActivityRow:
    """One move of a task (step_name None) or of a step; the same state twice is a note, such as a request to stop."""

    at: datetime
    step_name: str | None
    from_state: str | None
    to_state: str
    attempt: int | None
    engine: str | None
    actor: str | None
    reason: str | None
    error: dict[str, Any] | None

    @property
    def is_note(self) -> bool:
        """Whether a person only remarked something; the words are its reason."""
        return self.from_state == self.to_state and bool(self.error and self.error.get("note") is True)


@dataclass(frozen=True, slots=True)
class EffectRow:
    """What an operator's action would do to one step, or to the task itself (name None): its states now and then, and the effect in one word."""

    name: str | None
    from_state: str
    to_state: str
    effect: str


@dataclass(frozen=True, slots=True)
class Preview:
    """What an action would do: to the task and to each of its steps, in their order; `seen` lets it be done only if it still does this."""

    action: str
    step_name: str | None
    task: EffectRow
    steps: tuple[EffectRow, ...]
    seen: str


@dataclass(frozen=True, slots=True)
class MoveRow:
    """One move of a step, as the timeline needs it; without errors and reasons."""

    step_no: int
    at: datetime
    from_state: str | None
    to_state: str
    attempt: int | None
    engine: str | None


@dataclass(frozen=True, slots=True)
class UsualRow:
    """How long completed tasks of one definition took from their first step to the end, in seconds, over the latest `run_count`."""

    run_count: int
    median: float
    p95: float


@dataclass(frozen=True, slots=True)
class EngineRow:
    worker_id: int
    name: str
    runner: str
    concurrency: int
    started_at: datetime
    seen_at: datetime
    alive: bool
    draining: bool
    definitions: tuple[str, ...]
    cluster: dict[str, Any] | None = None
    """Of an engine whose handlers run on other machines: `state`, `at`, `said`, `workers` and `threads`, at its last heartbeat."""
    labels: tuple[str, ...] = ()
    hindrances: tuple[str, ...] = ()
    """Why steps go back uncharged, as at its last heartbeat: the object store is away, or its handlers are not all there."""


@dataclass(frozen=True, slots=True)
class StandingStep:
    """A step that runs or waits, with its task: `since` when it runs or is ready, `until` which time it waits for.

    `served` unless no engine has its handler and the `labels` that it needs, which are told of ready steps alone.
    """

    task_id: str
    namespace: str
    name: str
    version: str
    step_name: str
    state: str
    attempts: int
    retry_limit: int
    since: datetime | None
    until: datetime | None
    worker_id: int | None
    engine: str | None
    served: bool
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QueueRow:
    """What of one version waits and runs; `first_ready_at` is since when the first in line is ready, `engine_count` how many engines take its steps.

    `unserved_count` of the ready steps are for no engine that is alive: none has the handler, or the labels that they need.
    """

    namespace: str
    name: str
    version: str
    ready_count: int
    first_ready_at: datetime | None
    delayed_count: int
    running_count: int
    engine_count: int
    unserved_count: int = 0


@dataclass(frozen=True, slots=True)
class EndedTask:
    """A mark in the strip of a version's latest tasks."""

    task_id: str
    state: str
    took_seconds: float | None


@dataclass(frozen=True, slots=True)
class RecordRow:
    """How one version fared over its newest `ended_count` ended tasks, the first of which was made at `first_at`.

    `median` and `p95` are seconds from the first step to the end of those that completed; `strip` has the latest of them, newest first.
    """

    namespace: str
    name: str
    version: str
    step_count: int
    known_since: datetime
    description: str
    ended_count: int
    completed_count: int
    failed_count: int
    median: float | None
    p95: float | None
    first_at: datetime | None
    strip: tuple[EndedTask, ...]
    open_task_count: int
    failed_task_count: int

    @property
    def success_rate(self) -> float | None:
        """The share that completed of those that completed or failed; None while there are none."""
        judged = self.completed_count + self.failed_count
        return self.completed_count / judged if judged else None


@dataclass(frozen=True, slots=True)
class OverviewRow:
    """The state of the whole installation. Counts stop at 10,001; ended tasks other than failed ones are counted among the newest 10,001 tasks,
    and `is_large` tells that there are more.
    """

    task_counts: dict[str, int]
    ready_count: int
    delayed_count: int
    running_count: int
    oldest_ready_at: datetime | None
    engines_alive: int
    running: tuple[TaskRow, ...]
    failed: tuple[TaskRow, ...]
    recent: tuple[TaskRow, ...]
    is_large: bool = False


@dataclass(frozen=True, slots=True)
class LongTransaction:
    """A transaction that somebody has had open for long, so that nothing which died since can be cleaned away."""

    pid: int
    application: str
    open_seconds: float


@dataclass(frozen=True, slots=True)
class ScheduledTask:
    """A task that a schedule made."""

    task_id: str
    state: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """A workflow that runs again and again; without `version` each run takes the highest.

    `next_run_at` is None when no run is to come; `last_error` says why the latest run made no task; `recent` are its latest tasks, newest first. `refused_count` runs
    were refused since it was added, and for `missed_count` no engine was there in time.
    """

    schedule_id: int
    namespace: str
    name: str
    version: str | None
    timing: Timing
    policy: Policy
    context: dict[str, Any]
    paused: bool
    next_run_at: datetime | None
    last_run_at: datetime | None
    last_error: str | None
    refused_count: int
    missed_count: int
    created_by: str | None
    created_at: datetime
    changed_by: str | None
    changed_at: datetime | None
    change_reason: str | None
    recent: tuple[ScheduledTask, ...]

    @property
    def workflow(self) -> str:
        """`namespace/name` and, when one is fixed, `@version`."""
        return f"{self.namespace}/{self.name}" + (f"@{self.version}" if self.version else "")

    @property
    def tag(self) -> str:
        """What every task of it is tagged with."""
        return f"schedule:{self.schedule_id}"

    def upcoming(self, count: int) -> list[datetime]:
        """Its next runs; none while it is paused."""
        return [] if self.paused or self.next_run_at is None else self.timing.upcoming(self.next_run_at, count)


def _number(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) else f"{number:,.2f}"


@dataclass(frozen=True, slots=True)
class LimitRow:
    """How much of a workflow may go on; `step_name` is None where the limit is on its tasks.

    `limit` is what holds now, None: any number; `declared` what the definition says. `changed_by` an operator, None: as declared.
    """

    namespace: str
    name: str
    step_name: str | None
    limit: Limit
    declared: Limit
    changed_by: str | None
    changed_at: datetime | None
    change_reason: str | None
    taken_count: int
    waiting_count: int
    seen: str
    """Another one as soon as somebody has changed the limit."""
    key_is_secret: bool


@dataclass(frozen=True, slots=True)
class LimitedRow:
    """A task, or a step of it, that holds a place or waits for one, since when; `key` is whose places those are, empty where all share them."""

    key: str
    task_id: str
    step_name: str | None
    state: str
    since: datetime | None
