"""What an operator's action would do, on a page of its own: the steps it changes, a reason, and the button that does just that or nothing.

`tasks` and `steps` carry the actions out; what was shown comes back to them as the token `seen`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, request, url_for

from engine import queries, steps, tasks
from engine.actions import EFFECTS
from engine.errors import ChangedSince, RequestError, WrongState
from engine.hiding.redaction import restored
from engine.json_text import read_input
from engine.rows import EffectRow, Preview, StepRow, TaskDetail, TaskRow
from engine.states import FINAL_TASK
from webapp.access import note_act
from webapp.contexts import TABLE_ONLY_ABOVE
from webapp.database import database
from webapp.drawing import Graph, step_urls, task_graph
from webapp.filters import plural, sentence
from webapp.htmx import MAX_REASON, done, page
from webapp.security import actor

ROWS_SHOWN = 50
STALE = "The task has changed since you looked, and nothing was done. This is what would happen now."
OTHER_RESULT = "With this result the decision leads to other steps than were shown, and nothing was done. This is what would happen."
URGENT = frozenset({"cancellation", "pause"})
"""What must be possible for a task that changes faster than anybody can look."""

WILL = {
    "reset": "will run again",
    "resolved": "will be resolved",
    "skipped": "will be skipped",
    "bypassed": "will be skipped when the steps before are done",
    "cancelled": "will be cancelled",
    "stopping": "will be asked to stop",
    "replaced": "will be made anew by the map step",
    "unblocked": "will be unblocked",
    "held": "will not start until the task is resumed",
    "released": "may start again",
    "kept": "will stay",
}
TASK_WILL = {
    "kept": "stays {}",
    "held": "stays {} and is paused",
    "released": "stays {} and is no longer paused",
    "stopping": "stays {} until what runs has stopped, and is cancelled then",
    "reopened": "goes on and becomes {}",
    "ended": "ends and becomes {}",
}

blueprint = Blueprint("previews", __name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """An action that somebody thinks of: the noun of its address, and the step it is for unless it is the whole task."""

    noun: str
    task_id: UUID
    step_name: str | None = None

    @property
    def verb(self) -> str:
        """What the button says."""
        return VERBS[self.noun][0]

    @property
    def action(self) -> Any:
        """What the engine calls it."""
        return VERBS[self.noun][1]

    @property
    def address(self) -> dict[str, Any]:
        """What its addresses are made of."""
        return {"task_id": self.task_id} | ({} if self.step_name is None else {"step_name": self.step_name})

    @property
    def url(self) -> str:
        """Where the form goes that does it."""
        kind = "tasks" if self.step_name is None else "steps"
        return url_for(f"{kind}.{self.noun.replace('-', '_')}", **self.address)

    @property
    def back(self) -> str:
        """The page it was asked on."""
        return url_for("tasks.show" if self.step_name is None else "steps.show", **self.address)


VERBS = {
    "retry": ("Retry", "retry"),
    "downstream-retry": ("Run again", "retry_downstream"),
    "cancellation": ("Cancel", "cancel"),
    "skip": ("Skip", "skip"),
    "resolution": ("Resolve", "resolve"),
    "pause": ("Pause", "pause"),
    "resumption": ("Resume", "resume"),
}


@dataclass(frozen=True, slots=True)
class Group:
    """The steps with one effect; `hidden` more of them are not listed."""

    effect: str
    rows: tuple[EffectRow, ...]
    hidden: int

    @property
    def will(self) -> str:
        """What will happen to them, as the end of a sentence."""
        return WILL[self.effect]

    @property
    def words(self) -> str:
        """How many there are, and what will happen to them."""
        return f"{plural(len(self.rows) + self.hidden, 'step')} {self.will}"


@dataclass(frozen=True, slots=True)
class PreviewView:
    """Everything the page needs; with `refused` there is nothing that can be done."""

    asked: Asked
    task: TaskRow
    step: StepRow | None
    groups: tuple[Group, ...]
    lead: str
    graph: Graph | None
    step_urls: Mapping[str, str]
    seen: str
    refused: str


@blueprint.route("/tasks/<uuid:task_id>/preview/<any(retry, cancellation, pause, resumption):noun>", methods=["GET", "POST"])
def of_task(task_id: UUID, noun: str) -> Response:
    """What an action on the task would do; what a form sends is on the page again."""
    return show_preview(Asked(noun, task_id))


@blueprint.route(
    '/tasks/<uuid:task_id>/steps/<step_name>/preview/<any(retry, cancellation, skip, resolution, "downstream-retry"):noun>',
    methods=["GET", "POST"],
)
def of_step(task_id: UUID, step_name: str, noun: str) -> Response:
    """What an action on the step would do."""
    return show_preview(Asked(noun, task_id, step_name))


def is_confirmed() -> bool:
    """Whether the form is that of a preview."""
    return "seen" in request.form


def confirm(asked: Asked, command: Callable[..., object], said: str, location: str) -> Response:
    """Do what was shown, or show what would happen now. Raises what the command raises of what was typed."""
    seen = None if "anyway" in request.form else request.form.get("seen")
    try:
        command(database(), *map(str, asked.address.values()), actor=actor(), reason=typed_reason() or None, seen=seen)
    except ChangedSince:
        note_act("refused", typed_reason())
        other = request.form.get("result", "") != request.form.get("looked_at", request.form.get("result", ""))
        return show_preview(asked, 409, notice=OTHER_RESULT if other else STALE, is_stale=not other)
    except WrongState as error:
        note_act("refused", typed_reason())
        return show_preview(asked, 409, notice=f"Nothing was done. {sentence(error)}")
    note_act("done", typed_reason())
    return done(said, location)


def show_preview(
    asked: Asked, status: int = 200, *, notice: str = "", is_stale: bool = False, errors: Mapping[str, str] | None = None
) -> Response:
    """The page, with what was typed and what is wrong with it."""
    detail = queries.task(database(), str(asked.task_id), items=0, item=asked.step_name)
    step = next((each for each in detail.steps if each.name == asked.step_name), None)
    typed = {"reason": typed_reason(), **_typed(asked, detail, step)}
    return page(
        "tasks/preview.html",
        status=status,
        view=_view(asked, detail, step, typed),
        typed=typed,
        notice_words=notice,
        can_insist=is_stale and asked.step_name is None and asked.noun in URGENT,
        errors=errors or {},
    )


def typed_reason() -> str:
    """The reason in the form, as it would go into the history."""
    return request.form.get("reason", "").replace("\x00", "").strip()[:MAX_REASON]


def _typed(asked: Asked, detail: TaskDetail, step: StepRow | None) -> dict[str, str]:
    """What stands in the fields of this action: what was typed, or what to begin with."""
    if asked.noun == "downstream-retry":
        return {"context": request.form.get("context") or _text(detail.context)}
    if asked.noun != "resolution" or step is None:
        return {}
    begin = _text(list(step.children)) if step.kind == "decision" else "[]" if step.kind == "map" else ""
    return {"result": request.form.get("result", begin)}


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _view(asked: Asked, detail: TaskDetail, step: StepRow | None, typed: Mapping[str, str]) -> PreviewView:
    try:
        found = _previewed(asked, typed)
    except WrongState as error:
        return PreviewView(asked, detail.task, step, (), "", None, {}, "", sentence(error))
    effects = {row.name or "": row for row in found.steps}
    plain = [each for each in detail.steps if each.item_of is None]
    return PreviewView(
        asked=asked,
        task=detail.task,
        step=step,
        groups=tuple(_groups(found)),
        lead=_lead(found, detail.task),
        graph=task_graph(detail.task, plain, effects=effects) if len(plain) <= TABLE_ONLY_ABOVE else None,
        step_urls=step_urls(detail.task.task_id, [row.name or "" for row in found.steps]),
        seen=found.seen,
        refused="",
    )


def _previewed(asked: Asked, typed: Mapping[str, str]) -> Preview:
    if asked.step_name is None:
        return tasks.preview(database(), asked.action, str(asked.task_id))
    known = (database(), asked.action, str(asked.task_id), asked.step_name)
    try:
        return steps.preview(*known, result=read_result(typed["result"])) if "result" in typed else steps.preview(*known)
    except RequestError:
        return steps.preview(*known)  # what is wrong with the text is told when it is sent


def read_result(text: str) -> Any:
    """The result in the form; an empty field is null. Raises `RequestError` when it is no JSON that can be stored."""
    return read_input(text) if text.strip() else None


def read_context(task_id: str) -> dict[str, Any] | None:
    """The context in the form when it differs from the present one; secrets that were left masked stay as they are. Raises `ValueError` or `RequestError`."""
    present, text = queries.stored_context(database(), task_id), request.form.get("context", "").strip()
    given = read_input(text) if text else present
    if not isinstance(given, dict):
        raise ValueError("it must be a JSON object")
    for schema in (None, *queries.redaction_of_task(database(), task_id).of.schemas):
        given = restored(given, present, schema)
    return None if given == present else given


def _groups(found: Preview) -> Iterator[Group]:
    by_effect: dict[str, list[EffectRow]] = defaultdict(list)
    for row in found.steps:
        by_effect[row.effect].append(row)
    for effect in EFFECTS:
        if rows := by_effect.get(effect):
            yield Group(effect, tuple(rows[:ROWS_SHOWN]), max(0, len(rows) - ROWS_SHOWN))


def _lead(found: Preview, task: TaskRow) -> str:
    """The whole preview in two or three sentences."""
    counts = ", ".join(group.words for group in _groups(found))
    said = f"{counts}. The task {TASK_WILL[found.task.effect].format(found.task.to_state)}."
    if task.paused and task.state not in FINAL_TASK and found.task.effect == "kept":
        said += " It is paused: nothing starts before it is resumed."
    return said
