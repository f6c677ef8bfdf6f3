"""What the pages of a task and of a step are given: the engine's rows, and which actions are offered to this reader now. Decided without a database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from flask import url_for

from engine.measures.quantiles import Spread
from engine.rows import ActivityRow, LinePage, MoveRow, StepDetail, StepRow, TaskDetail, TaskRow, UsualRow
from engine.states import FINAL_TASK, StepState, TaskState
from engine.why import why_step, why_task
from webapp.access import may
from webapp.critical_path import telling_path
from webapp.drawing import Graph, step_urls, task_graph
from webapp.expected import Expected, Pace, expected_end, step_pace
from webapp.filters import plural
from webapp.step_table import ALL_STEPS, AskedSteps, StepTable, parameters, row_urls, step_table
from webapp.timeline import Timeline, timeline

CLOSED_TASKS = FINAL_TASK - {TaskState.FAILED}
TABLE_ONLY_ABOVE = 2_000
ITEMS_SHOWN = 20  # of a map step, in the table of its task
ACTIVITY_SHOWN = 50  # of a task on its page, the newest; its timeline has all
CHILDREN_SHOWN = 50  # of the tasks that it submitted, the first
ITEMS_PER_PAGE = 50
SLOW_NAMED = 5
NOT_KNOWN: Mapping[int, Spread] = MappingProxyType({})
RIGHTS = {"Retry": "retry", "Cancel": "cancel"}  # what a button needs; the others change the task or step
RETRYABLE = frozenset({StepState.FAILED, StepState.RETRYING})
RESOLVABLE = frozenset({StepState.PENDING, StepState.READY, StepState.RETRYING, StepState.FAILED})
CANCELLABLE = frozenset({StepState.PENDING, StepState.READY, StepState.RUNNING, StepState.RETRYING})


@dataclass(frozen=True, slots=True)
class Action:
    """A button: its verb, and where its form is sent; that is the page with its preview, unless one press is enough.

    Then `preview_url` leads to the preview.
    """

    verb: str
    url: str
    hint: str
    preview_url: str = ""


@dataclass(frozen=True, slots=True)
class TaskView:
    """Everything the regions of a task's page need; `step_actions` are those of the steps that the table shows."""

    detail: TaskDetail
    task: TaskRow
    steps: tuple[StepRow, ...]
    table: StepTable
    graph: Graph | None
    critical: tuple[str, ...]
    activity: Sequence[ActivityRow]
    activity_is_cut: bool
    why: str
    expected: Expected | None
    actions: tuple[Action, ...]
    step_actions: dict[str, tuple[Action, ...]]
    step_urls: dict[str, str]
    children: tuple[TaskRow, ...]
    children_are_cut: bool
    is_open: bool
    paces: Mapping[str, Pace | None]

    @property
    def slow(self) -> list[str]:
        """The first few steps whose latest attempt runs or ran longer than usual."""
        return _slow(self.paces)

    @property
    def slow_count(self) -> int:
        """How many there are."""
        return self.table.slower_count

    @property
    def live_url(self) -> str:
        """Where the page's regions are asked for anew, as they are shown."""
        return url_for("tasks.show", task_id=self.task.task_id, **parameters(self.table.asked))

    @property
    def can_act(self) -> bool:
        """Whether any button is on the page."""
        return bool(self.actions) or any(self.step_actions.values())


@dataclass(frozen=True, slots=True)
class AttemptLog:
    """The newest lines of one attempt, of `count` that it has written."""

    attempt: int
    count: int
    page: LinePage


@dataclass(frozen=True, slots=True)
class StepView:
    """Everything the regions of a step's page need; relatives are steps of the same task, items those of a map step from one place on.

    `logs` are those of the latest attempts that wrote lines, `earlier_logs` the numbers of the attempts before, with how many they wrote.
    """

    detail: StepDetail
    step: StepRow
    task: TaskRow
    parents: tuple[StepRow, ...]
    children: tuple[StepRow, ...]
    why: str
    actions: tuple[Action, ...]
    can_retry_downstream: bool
    is_open: bool
    items: tuple[StepRow, ...] = ()
    first_item: int = 0
    logs: tuple[AttemptLog, ...] = ()
    earlier_logs: tuple[tuple[int, int], ...] = ()
    usual: Spread | None = None

    @property
    def pace(self) -> Pace | None:
        """How its latest attempt fares against that."""
        return step_pace(self.step, self.usual)

    @property
    def item_url(self) -> Callable[[int], str]:
        """The page that shows the items from a place on."""
        return lambda first: url_for("steps.show", task_id=self.task.task_id, step_name=self.step.name, items_from=first or None)

    @property
    def earlier_items(self) -> str | None:
        """The page of the items before those shown."""
        return self.item_url(max(0, self.first_item - ITEMS_PER_PAGE)) if self.first_item else None

    @property
    def later_items(self) -> str | None:
        """The page of the items behind those shown."""
        end = self.first_item + ITEMS_PER_PAGE
        return self.item_url(end) if end < self.step.item_count else None


def task_view(
    detail: TaskDetail,
    activity: Sequence[ActivityRow],
    usual: UsualRow | None,
    now: datetime,
    children: tuple[TaskRow, ...] = (),
    asked: AskedSteps = ALL_STEPS,
    usual_steps: Mapping[int, Spread] = NOT_KNOWN,
) -> TaskView:
    """The view of a task as it is in `detail` at `now`, the database's time; `children` are the tasks that its steps submitted, one more than are shown where there are more.

    Of its steps the table shows those `asked` for.
    """
    task = detail.task
    plain = [step for step in detail.steps if step.item_of is None]
    critical = telling_path(plain)
    paces = _paces(detail.steps, usual_steps)
    table = step_table(task.task_id, detail.steps, asked, _all_slow(paces))
    rows = row_urls(task.task_id, detail.steps, table.asked)
    return TaskView(
        detail=detail,
        task=task,
        steps=detail.steps,
        table=table,
        graph=task_graph(task, detail.steps, critical, row_urls=rows) if len(plain) <= TABLE_ONLY_ABOVE else None,
        critical=critical,
        activity=activity[:ACTIVITY_SHOWN],
        activity_is_cut=len(activity) > ACTIVITY_SHOWN,
        why=why_task(detail),
        expected=expected_end(task, usual, now),
        actions=task_actions(task, stopping=detail.cancel_requested_at is not None),
        step_actions={step.name: row_actions(task, step) for step in table.rows},
        step_urls=step_urls(task.task_id, [step.name for step in table.rows] + _slow(paces) + [move.step_name for move in activity if move.step_name]),
        children=children[:CHILDREN_SHOWN],
        children_are_cut=len(children) > CHILDREN_SHOWN,
        is_open=task.state not in CLOSED_TASKS,
        paces=paces,
    )


def _paces(steps: Sequence[StepRow], usual_steps: Mapping[int, Spread]) -> dict[str, Pace | None]:
    """Of each step against what is usual for it; items are measured by what is usual for items."""
    number = {step.name: step.step_no for step in steps if step.item_of is None}
    return {step.name: step_pace(step, usual_steps.get(number[step.item_of or step.name])) for step in steps} if usual_steps else {}


def slow_steps(steps: Sequence[StepRow], usual_steps: Mapping[int, Spread]) -> frozenset[str]:
    """The names of those whose latest attempt runs or ran longer than usual; the map steps of items are among the steps."""
    return frozenset(_all_slow(_paces(steps, usual_steps)))


def _slow(paces: Mapping[str, Pace | None]) -> list[str]:
    return _all_slow(paces)[:SLOW_NAMED]


def _all_slow(paces: Mapping[str, Pace | None]) -> list[str]:
    return [name for name, pace in paces.items() if pace and pace.words]


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


def step_view(
    detail: StepDetail,
    items: tuple[StepRow, ...] = (),
    first_item: int = 0,
    logs: tuple[AttemptLog, ...] = (),
    earlier_logs: tuple[tuple[int, int], ...] = (),
    usual_steps: Mapping[int, Spread] = NOT_KNOWN,
) -> StepView:
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
        can_retry_downstream=may("tasker.step:retry", task.namespace) and step.state not in CANCELLABLE and step.item_of is None and task.state != TaskState.CANCELLED,
        is_open=task.state not in CLOSED_TASKS,
        items=items,
        first_item=first_item,
        logs=logs,
        earlier_logs=earlier_logs,
        usual=usual_steps.get(detail.template.step_no) if step.kind != "map" else None,
    )


def task_actions(task: TaskRow, *, stopping: bool) -> tuple[Action, ...]:
    """What can be done to the whole task now; one that is `stopping` was asked to."""
    actions: list[Action] = []
    if task.failed_count and task.state not in CLOSED_TASKS:
        hint = f"Run {plural(task.failed_count, 'failed step')} again; what is done stays done"
        actions.append(Action("Retry", url_for("tasks.retry", task_id=task.task_id), hint, _preview_url(task, "retry")))
    if task.state not in FINAL_TASK and task.paused:
        actions.append(Action("Resume", _preview_url(task, "resumption"), "Let the task go on where it stands"))
    elif task.state not in FINAL_TASK and not stopping:
        actions.append(Action("Pause", _preview_url(task, "pause"), "Running steps may end, nothing else starts"))
    if task.state not in FINAL_TASK:
        actions.append(Action("Cancel", _preview_url(task, "cancellation"), "Stop the task; running steps are asked to end"))
    return _allowed(actions, "task", task)


def step_actions(task: TaskRow, step: StepRow) -> tuple[Action, ...]:
    """What can be done to one step now."""
    actions = []
    if _may(task, step, RETRYABLE):
        url = url_for("steps.retry", task_id=task.task_id, step_name=step.name)
        actions.append(Action("Retry", url, "Run this step again, now", _preview_url(task, "retry", step)))
    offered = (
        ("Skip", "skip", RESOLVABLE, "Go on without this step"),
        ("Resolve", "resolution", RESOLVABLE, "Go on with a result that you supply"),
        ("Cancel", "cancellation", CANCELLABLE, "Stop this step and what waits for it"),
    )
    actions += [Action(verb, _preview_url(task, noun, step), hint) for verb, noun, states, hint in offered if _may(task, step, states)]
    return _allowed(actions, "step", task)


def _allowed(actions: Sequence[Action], resource: str, task: TaskRow) -> tuple[Action, ...]:
    """Those that the reader may do."""
    return tuple(each for each in actions if may(f"tasker.{resource}:{RIGHTS.get(each.verb, 'update')}", task.namespace))


def _preview_url(task: TaskRow, noun: str, step: StepRow | None = None) -> str:
    if step is None:
        return url_for("previews.of_task", task_id=task.task_id, noun=noun)
    return url_for("previews.of_step", task_id=task.task_id, step_name=step.name, noun=noun)


def row_actions(task: TaskRow, step: StepRow) -> tuple[Action, ...]:
    """The buttons in a step's row: what helps where a step needs somebody, so that a calm table stays calm."""
    if step.state not in RETRYABLE:
        return ()
    return tuple(action for action in step_actions(task, step) if action.verb in ("Retry", "Skip"))


def _may(task: TaskRow, step: StepRow, states: frozenset[StepState]) -> bool:
    return task.state not in CLOSED_TASKS and step.state in states
