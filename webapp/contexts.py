"""What the pages of a task and of a step are given: the engine's rows, and which actions are offered now. Decided without a database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from flask import url_for

from engine.rows import ActivityRow, MoveRow, StepDetail, StepRow, TaskDetail, TaskRow, UsualRow
from engine.states import FINAL_TASK, StepState, TaskState
from webapp.critical_path import telling_path
from webapp.drawing import Graph, step_urls, task_graph
from webapp.expected import Expected, expected_end
from webapp.filters import plural
from webapp.timeline import Timeline, timeline
from webapp.why import why_step, why_task

CLOSED_TASKS = FINAL_TASK - {TaskState.FAILED}
TABLE_ONLY_ABOVE = 2_000
RETRYABLE = frozenset({StepState.FAILED, StepState.RETRYING})
RESOLVABLE = frozenset({StepState.PENDING, StepState.READY, StepState.RETRYING, StepState.FAILED})
CANCELLABLE = frozenset({StepState.PENDING, StepState.READY, StepState.RUNNING, StepState.RETRYING})


@dataclass(frozen=True, slots=True)
class Action:
    """A button: its verb, and the noun that its form is sent to."""

    verb: str
    url: str
    hint: str


@dataclass(frozen=True, slots=True)
class TaskView:
    """Everything the regions of a task's page need."""

    detail: TaskDetail
    task: TaskRow
    steps: tuple[StepRow, ...]
    graph: Graph | None
    critical: tuple[str, ...]
    activity: Sequence[ActivityRow]
    why: str
    expected: Expected | None
    actions: tuple[Action, ...]
    step_actions: dict[str, tuple[Action, ...]]
    step_urls: dict[str, str]
    is_open: bool

    @property
    def can_act(self) -> bool:
        """Whether any button is on the page, and so a reason can be given."""
        return bool(self.actions) or any(self.step_actions.values())


@dataclass(frozen=True, slots=True)
class StepView:
    """Everything the regions of a step's page need; relatives are steps of the same task."""

    detail: StepDetail
    step: StepRow
    task: TaskRow
    parents: tuple[StepRow, ...]
    children: tuple[StepRow, ...]
    why: str
    actions: tuple[Action, ...]
    can_resolve: bool
    is_open: bool

    @property
    def can_act(self) -> bool:
        """Whether any button is on the page."""
        return bool(self.actions) or self.can_resolve


def task_view(detail: TaskDetail, activity: Sequence[ActivityRow], usual: UsualRow | None, now: datetime) -> TaskView:
    """The view of a task as it is in `detail` at `now`, the database's time."""
    task = detail.task
    critical = telling_path(detail.steps)
    return TaskView(
        detail=detail,
        task=task,
        steps=detail.steps,
        graph=task_graph(task, detail.steps, critical) if len(detail.steps) <= TABLE_ONLY_ABOVE else None,
        critical=critical,
        activity=activity,
        why=why_task(detail),
        expected=expected_end(task, usual, now),
        actions=task_actions(task),
        step_actions={step.name: row_actions(task, step) for step in detail.steps},
        step_urls=step_urls(task.task_id, [step.name for step in detail.steps]),
        is_open=task.state not in CLOSED_TASKS,
    )


@dataclass(frozen=True, slots=True)
class TimelineView:
    """Everything the timeline of a task needs."""

    task: TaskRow
    timeline: Timeline
    why: str
    step_urls: dict[str, str]
    is_open: bool


def timeline_view(detail: TaskDetail, moves: Sequence[MoveRow], now: datetime) -> TimelineView:
    """The timeline of a task as it is at `now`, the database's time."""
    task = detail.task
    drawn = timeline(task, detail.steps, moves, now)
    urls = step_urls(task.task_id, [step.name for step in detail.steps])
    return TimelineView(task, drawn, why_task(detail), urls, task.state not in CLOSED_TASKS)


def step_view(detail: StepDetail) -> StepView:
    """The view of one step among the steps of its task."""
    step, task, steps = detail.row, detail.task, detail.steps
    return StepView(
        detail=detail,
        step=step,
        task=task,
        parents=tuple(each for each in steps if each.name in step.parents),
        children=tuple(each for each in steps if each.name in step.children),
        why=why_step(step),
        actions=step_actions(task, step),
        can_resolve=_may(task, step, RESOLVABLE),
        is_open=task.state not in CLOSED_TASKS,
    )


def task_actions(task: TaskRow) -> tuple[Action, ...]:
    """What can be done to the whole task now."""
    actions = []
    if task.failed_count and task.state not in CLOSED_TASKS:
        hint = f"Run {plural(task.failed_count, 'failed step')} again; what is done stays done"
        actions.append(Action("Retry", url_for("tasks.retry", task_id=task.task_id), hint))
    if task.state not in FINAL_TASK:
        hint = "Stop the task; running steps are asked to end"
        actions.append(Action("Cancel", url_for("tasks.cancellation", task_id=task.task_id), hint))
    return tuple(actions)


def step_actions(task: TaskRow, step: StepRow) -> tuple[Action, ...]:
    """What can be done to one step now, but for a resolution, which needs a result."""
    offered = (
        ("Retry", "steps.retry", RETRYABLE, "Run this step again, now"),
        ("Skip", "steps.skip", RESOLVABLE, "Go on without this step"),
        ("Cancel", "steps.cancellation", CANCELLABLE, "Stop this step and what waits for it"),
    )
    return tuple(
        Action(verb, url_for(endpoint, task_id=task.task_id, step_name=step.name), hint)
        for verb, endpoint, states, hint in offered
        if _may(task, step, states)
    )


def row_actions(task: TaskRow, step: StepRow) -> tuple[Action, ...]:
    """The buttons in a step's row: what helps where a step needs somebody, so that a calm table stays calm."""
    if step.state not in RETRYABLE:
        return ()
    return tuple(action for action in step_actions(task, step) if action.verb in ("Retry", "Skip"))


def _may(task: TaskRow, step: StepRow, states: frozenset[StepState]) -> bool:
    return task.state not in CLOSED_TASKS and step.state in states
