"""Invented rows for `/patterns`: one of everything, in every state it can be in. Nothing here is read from a database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from werkzeug.datastructures import MultiDict

from engine.finding.views import Alert, View
from engine.journal import LEVELS
from engine.replicas import Standing
from engine.rows import (
    ActivityRow,
    DefinitionRow,
    EndedTask,
    EngineRow,
    LinePage,
    LineRow,
    LongTransaction,
    OverviewRow,
    QueueRow,
    RecordRow,
    ScheduledTask,
    ScheduleRow,
    StandingStep,
    StepRow,
    TaskDetail,
    TaskRow,
    TemplateRow,
    UsualRow,
    WorkflowRow,
)
from engine.states import StepState, TaskState
from engine.timing import Timing
from webapp.contexts import TaskView, task_view
from webapp.diff_drawing import diff_graph
from webapp.engines import EngineView, NamespaceQueue
from webapp.expected import pace
from webapp.form_parts import VALUE
from webapp.forms import launch_form
from webapp.htmx import Notice
from webapp.listing import TaskList
from webapp.overview import Stuck, StuckTask, Tab
from webapp.pattern_limits import limit_specimens
from webapp.problems import ADVICE, TITLES
from webapp.schedules import schedule_view
from webapp.step_logs import LogView
from webapp.step_table import AskedSteps
from webapp.task_filter import read_filter
from webapp.version_diff import version_diff
from webapp.views import Counted, Strip
from webapp.waiting import QUEUES
from webapp.why import STUCK_WORDS

Specimen = tuple[str, str, str, dict[str, Any]]

ERROR = {"type": "GatewayTimeout", "code": "slow", "message": "no answer in time", "retryable": True, "traceback": 'Traceback (most recent call last):\n  File "flows/orders.py", line 7, in charge\n    raise GatewayTimeout("no answer in time")\n'}
USUAL = UsualRow(200, 20.0, 45.0)
SCHEMA = {
    "type": "object",
    "required": ["order_id"],
    "properties": {
        "order_id": {"type": "integer", "minimum": 1, "description": "The shop's own number"},
        "speed": {"type": "string", "enum": ["normal", "high"], "default": "normal"},
        "express": {"type": "boolean"},
        "lines": {"type": "array", "items": {"type": "object", "properties": {"sku": {"type": "string"}}}},
    },
}


def specimens() -> Iterator[Specimen]:
    """The group, title, template and context of each specimen, in the order of the page."""
    yield "Words", "States of steps and tasks, kinds, ages, outcomes", "patterns/_words.html", _words()
    yield "Words", "Changes between versions", "patterns/_changes.html", {}
    yield "Words", "Notices", "layout/_notices.html", {"notices": _notices}
    yield "Words", "Icons", "patterns/_icons.html", {}
    yield "Forms", "Buttons", "patterns/_buttons.html", {}
    yield "Forms", "Filter with and without errors", "patterns/_filter.html", _filter()
    yield "Forms", "Launch form", "patterns/_launch.html", {"form": launch_form(SCHEMA)}
    yield "Forms", "Launch form with errors", "patterns/_launch.html", {"form": _wrong_form()}
    yield from _task_regions()
    yield from _lists()
    for status in sorted(TITLES):
        yield "Problems", str(status), "layout/_problem.html", {"status": status, "title": TITLES[status], "detail": "", "advice": ADVICE.get(status, ""), "path": "/here"}


def _words() -> dict[str, Any]:
    rows = list(task_rows())
    return {"states": list(StepState), "rows": rows, "paces": {row.task_id: pace(row, USUAL, _now()) for row in rows}, "marks": record().strip, "record": record()}


def _notices() -> list[Notice]:
    return [Notice("done", "The task was told to stop."), Notice("refused", "The step has ended already."), Notice("failed", "The dashboard does not answer.")]


def _filter() -> dict[str, Any]:
    asked = read_filter({"q": "ord-7", "state": "sleeping", "context": "customer", "created_from": "soon", "namespace": "shop"})
    return {"typed": asked.typed, "problems": asked.problems, "states": list(TaskState)}


def _wrong_form() -> Any:
    form = launch_form(SCHEMA, MultiDict({f"{VALUE}/order_id": "seven", f"{VALUE}/speed": "normal"}))
    form.validate()
    return form


def _task_regions() -> Iterator[Specimen]:
    view = a_view()
    yield "Task", "What it is and what can be done", "tasks/_state.html", {"view": view}
    yield "Task", "Graph with every state", "tasks/_graph.html", {"view": view}
    yield "Task", "Steps in every state", "tasks/_steps.html", {"view": view}
    yield "Task", "A long table of steps, its second page", "tasks/_steps.html", {"view": a_long_view()}
    yield "Task", "Activity", "tasks/_activity.html", {"view": view}
    yield "Task", "Log with lines of every level", "steps/_lines.html", {"view": a_log(tuple(log_lines()))}
    yield "Task", "Log, no line found", "steps/_lines.html", {"view": a_log((), {"level": "critical"})}
    yield "Task", "Note", "tasks/_note.html", {"view": view, "note": ""}
    yield "Task", "Error of a step", "steps/_error.html", {"error": ERROR}
    yield "Task", "JSON", "tasks/_context.html", {"view": view}
    compared = version_diff(definition("1.0.0"), definition("2.0.0"))
    yield "Workflow", "Two versions as one graph", "layout/_graph.html", {"graph": diff_graph(compared), "title": "Two versions"}
    yield "Workflow", "Versions", "workflows/_versions.html", {"records": [record("2.0.0"), record()], "runs": 1000}


def _lists() -> Iterator[Specimen]:
    rows = tuple(task_rows())
    known = {row.task_id: pace(row, USUAL, _now()) for row in rows}
    full = TaskList(read_filter({}), rows, tuple(range(len(rows))), 7, new_count=12)
    searched = TaskList(read_filter({"initiator": "ana"}), (), (), 7, 100_000, _now())
    yield "Lists", "Tasks in every state, with new ones", "tasks/_list.html", {"found": full, "paces": known}
    yield "Lists", "Tasks, none found so far", "tasks/_list.html", {"found": searched, "paces": {}}
    yield "Lists", "Tasks, none at all", "tasks/_list.html", {"found": TaskList(read_filter({}), (), (), None), "paces": {}}
    yield "Lists", "Workflows", "workflows/_table.html", {"rows": [workflow()], "records": {("shop", "process_order"): record()}, "caption": "Workflows in shop", "runs": 100}
    yield "Lists", "Kept views, one with too many, one not counted", "views/_strip.html", {"kept": kept_views()}
    yield "Lists", "Tasks of a file", "launches/_progress.html", {"tag": "rows-0123456789ab", "counts": {"pending": 3, "running": 1, "completed": 16, "failed": 1}, "tab": Tab("failed", "17 of 21 ended, 1 failed · orders.csv")}
    yield "Lists", "Overview", "overview/_now.html", {"overview": overview(rows), "stuck": stuck(rows[1]), "stuck_words": STUCK_WORDS, "paces": known, "tab": Tab("failed", "2 failed · Overview"), "held": LongTransaction(4711, "report of the month", 754.0)}
    yield "Lists", "Overview of an empty installation", "overview/_now.html", {"overview": OverviewRow({}, 0, 0, 0, None, 0, (), (), ()), "stuck": Stuck({}, ()), "stuck_words": STUCK_WORDS, "paces": {}, "tab": Tab("completed", "Overview"), "held": None}
    yield "Lists", "Engines and queues", "engines/_list.html", engines()
    yield "Lists", "Engines, none, and a replica that is behind", "engines/_list.html", {"engines": [], "queues": [], "unserved": [], "held_count": 0, "replica": Standing("behind", "the replica at db2:5432/shop is 34 s behind, more than the 10 s up to which it is read")}
    yield "Lists", "Engines, none", "engines/_list.html", {"engines": [], "queues": [], "unserved": [], "held_count": 3, "replica": None}
    yield from limit_specimens()
    for queue in QUEUES.values():
        step = next(each for each in standing_steps() if each.state == {"delayed": "retrying"}.get(queue.key, queue.key))
        yield "Lists", queue.title, "waiting/_steps.html", {"queue": queue, "steps": [step], "urls": {(step.task_id, step.step_name): "#"}, "total": 2_000, "held_count": 0}
        yield "Lists", f"{queue.title}, none", "waiting/_steps.html", {"queue": queue, "steps": [], "urls": {}, "total": 0, "held_count": 12 if queue.key == "ready" else 0}
    yield "Lists", "Schedules", "schedules/_list.html", {"found": [schedule_view(schedule()), schedule_view(replace(schedule(), schedule_id=2, paused=True, changed_by="ana", last_error="$.order_id: is required", refused_count=3, missed_count=12))]}
    yield "Lists", "Schedules, none", "schedules/_list.html", {"found": []}


def _now() -> datetime:
    return datetime.now(UTC)


def _ago(length: float) -> datetime:
    return _now() - timedelta(seconds=length)


def _id(no: int) -> str:
    return f"{no:08x}-0000-4000-8000-000000000000"


def task_row(state: str, no: int = 1, **fields: Any) -> TaskRow:
    """A task of the order workflow in this state."""
    started = None if state == TaskState.PENDING else _ago(30)
    ended = None if state in (TaskState.PENDING, TaskState.RUNNING) else _ago(2)
    done = {"completed": 4, "resolved": 4, "pending": 0}.get(state, 2)
    row = TaskRow(_id(no), "shop", "process_order", "1.0.0", state, False, 0, (), "ana", f"ord-{no}", _ago(40), started, ended, None, 4, done, int(state == "failed"))
    return replace(row, **fields)


def task_rows() -> Iterator[TaskRow]:
    """A task in each state, one that is paused, one that is late and one with tags and failures."""
    for no, state in enumerate(TaskState, 1):
        yield task_row(state, no)
    yield task_row("running", 20, paused=True)
    yield task_row("running", 21, started_at=_ago(61), failed_count=1)
    yield task_row("completed", 22, tags=("vip", "schedule:1"), started_at=_ago(300), step_count=12_000, done_count=12_000)


def step_row(no: int, name: str, state: str, parents: tuple[str, ...], **fields: Any) -> StepRow:
    """A step in this state."""
    attempts = 0 if state in ("pending", "ready", "skipped", "cancelled") else 1
    started = _ago(20) if attempts else None
    ended = _ago(8) if state in ("completed", "failed", "resolved") else None
    waits = {"pending": "charge", "ready": "a free place in an engine", "running": "its handler, attempt 1 of 3", "retrying": "attempt 2 of 3"}.get(state, "")
    row = StepRow(
        no, no, name, state, attempts, 3, parents, (), 0, started, ended, _ago(-40) if state == "retrying" else None, waits,
        ERROR if state in ("failed", "retrying") else None, 12.0 if attempts else None, "host.4711" if attempts else None, False,
    )  # fmt: skip
    return replace(row, **fields)


def step_rows() -> tuple[StepRow, ...]:
    """A step in each state behind a first one, and a map step and a decision."""
    first = step_row(0, "validate", "completed", ())
    each = [step_row(no, f"{state}_step", state, ("validate",)) for no, state in enumerate(StepState, 1)]
    mapped = step_row(len(each) + 1, "charge_each", "running", ("validate",), kind="map", item_states={"completed": 12, "running": 3, "failed": 1})
    decision = step_row(len(each) + 2, "which_courier", "completed", ("completed_step",), kind="decision")
    return (first, *each, mapped, decision)


def a_view() -> TaskView:
    """A task with a step in each state."""
    steps = step_rows()
    task = task_row("running", step_count=len(steps), done_count=4, failed_count=1, started_at=_ago(30))
    detail = TaskDetail(task, {"order_id": 7, "customer": {"id": 42, "name": "Ana"}, "lines": [{"sku": "A1", "price": 9.5, "gift": False}]}, "The customer called", "shop", None, 1, steps)
    moves = [
        ActivityRow(_ago(3), None, "running", "running", None, None, "ana", "Called the courier.", {"note": True}),
        *(ActivityRow(_ago(5), step.name, "running", step.state, 1, "host.4711", "ana" if step.state == "resolved" else None, None, step.error) for step in steps[1:10]),
        ActivityRow(_ago(40), None, None, "pending", None, None, "ana", None, None),
    ]
    return task_view(detail, moves, USUAL, _now())


def a_long_view() -> TaskView:
    """A task with more steps than its table shows at once."""
    steps = tuple(step_row(no, f"shelf_{no}", "failed" if no == 207 else "completed", ()) for no in range(240))
    task = task_row("running", step_count=len(steps), done_count=239, failed_count=1, started_at=_ago(30))
    return task_view(TaskDetail(task, {}, None, None, None, 1, steps), [], USUAL, _now(), asked=AskedSteps(None, 200))


def log_lines() -> Iterator[LineRow]:
    """A line of each level, by two attempts, with and without fields."""
    for no, level in enumerate(LEVELS, 1):
        fields = {"amount": 40, "customer": {"id": 42}} if no % 2 else None
        yield LineRow(no, "charge", 1 + no // 3, _ago(20 - no), level, "asks the gateway\nand waits for its answer" if no == 1 else "asks the gateway", fields)


def a_log(lines: tuple[LineRow, ...], chosen: dict[str, Any] | None = None) -> LogView:
    """A page of the log of a step's two attempts, with more before it."""
    counts = {1: 1_000, 2: 3}
    return LogView(task_row("running"), step_row(1, "charge", "running", ()), counts, None, None, LinePage(lines, lines[0].line_no if lines else None, None), chosen or {}, True)


def template(no: int, name: str, parents: tuple[int, ...], **fields: Any) -> TemplateRow:
    """A step of a definition."""
    backoff = {"base": 1.0, "multiplier": 2.0, "cap": 60.0, "jitter": 0.1}
    return replace(TemplateRow(no, name, "", f"flows.orders.{name}", parents, (), True, 3, None, backoff, None, {}), **fields)


def definition(version: str) -> DefinitionRow:
    """The order workflow; 2.0.0 differs from 1.0.0 in every way there is."""
    old = (template(0, "validate", ()), template(1, "charge", (0,)), template(2, "reserve", (0,)), template(3, "ship", (1, 2)))
    new = (template(0, "validate", ()), template(1, "charge", (0,), retry_limit=7), template(2, "check_fraud", (0,)), template(3, "ship", (1, 2)))
    return DefinitionRow(1, "shop", "process_order", version, "From payment to courier.", SCHEMA, _ago(86_400), old if version == "1.0.0" else new)


def record(version: str = "1.0.0") -> RecordRow:
    """How a version fared, with a mark of each outcome."""
    if version != "1.0.0":
        return RecordRow("shop", "process_order", version, 4, _ago(60), "", 0, 0, 0, None, None, None, (), 0, 0)
    states = ("failed", "completed", "cancelled", "resolved", *["completed"] * 16)
    strip = tuple(EndedTask(_id(no), state, None if state == "cancelled" else 12.5) for no, state in enumerate(states))
    return RecordRow("shop", "process_order", version, 4, _ago(86_400), "", 1000, 981, 7, 20.0, 45.0, _ago(80_000), strip, 12, 7)


def workflow() -> WorkflowRow:
    """The order workflow with three versions."""
    return WorkflowRow("shop", "process_order", "From payment to courier.", ("2.0.0", "1.1.0", "1.0.0"), 10_001, 12, 7, _ago(40))


def kept_views() -> Strip:
    """Some views and how many tasks each holds."""
    known: dict[str, Any] = {"parameters": {"state": "failed"}, "changed_at": _now(), "has_secret": False, "counted_at": _now(), "count": 12, "over_since": None}
    made = [View(number, name, "shop", 1, "ana", alert=Alert(threshold), **known) for number, (name, threshold) in enumerate((("Failed payments", 10), ("Vip", None), ("Slow", None)))]
    return Strip([Counted(made[0], 12), Counted(made[1], 3), Counted(made[2], None)], 17)


def overview(rows: tuple[TaskRow, ...]) -> OverviewRow:
    """An installation at work."""
    counts = {"failed": 7, "running": 12, "pending": 3_400, "completed": 9_100}
    return OverviewRow(counts, 120, 8, 14, _ago(70), 2, tuple(row for row in rows if row.state == "running"), tuple(row for row in rows if row.state == "failed"), rows[:3], is_large=True)


def stuck(task: TaskRow) -> Stuck:
    """A task for each reason."""
    return Stuck(dict.fromkeys(STUCK_WORDS, 2), tuple(StuckTask(task, words, "charge waits for attempt 2 of 5, in 40 s.") for words in STUCK_WORDS.values()))


def standing_steps() -> list[StandingStep]:
    """A step of each queue."""
    shared = ("shop", "process_order", "1.0.0")
    return [
        StandingStep(_id(1), *shared, "charge", "running", 1, 3, _ago(12), None, 1, "host.4711", True),
        StandingStep(_id(2), *shared, "validate", "ready", 0, 3, _ago(70), None, None, None, False),
        StandingStep(_id(3), *shared, "charge", "retrying", 1, 3, None, _ago(-40), None, None, True),
    ]


def engines() -> dict[str, Any]:
    """An engine in each state, and queues with and without one."""
    row = EngineRow(1, "host.4711", "processes", 8, _ago(4_000), _ago(2), True, False, ("shop/process_order@1.0.0", "shop/refund@1.0.0"))
    rows = [replace(row, worker_id=no, name=f"host.{4710 + no}", alive=no < 3, draining=no == 2) for no in (1, 2, 3)]
    rows[1] = replace(rows[1], hindrances=("the object store did not answer: OSError: there is no folder /srv/objects on this machine",))
    queues = (QueueRow("shop", "process_order", "2.0.0", 12, _ago(70), 0, 0, 0, 12), QueueRow("shop", "process_order", "1.0.0", 108, _ago(9), 8, 14, 1))
    views = [EngineView(each, ((standing_steps()[0], "#"),) if no == 0 else (), 3 if no == 0 else 0) for no, each in enumerate(rows)]
    return {"engines": views, "queues": [NamespaceQueue("shop", queues)], "unserved": queues[:1], "held_count": 0, "replica": None}


def schedule() -> ScheduleRow:
    """The order workflow every night."""
    timing = Timing("cron", "30 2 * * *", "Europe/Berlin")
    made = (ScheduledTask(_id(1), "completed", _ago(80_000)), ScheduledTask(_id(2), "failed", _ago(160_000)))
    return ScheduleRow(1, "shop", "process_order", "1.0.0", timing, "one", {}, False, next(timing.runs(_now(), _now())), None, None, 0, 0, "ana", _ago(900_000), None, None, None, made)
