"""`/batches`: one action on all tasks that a filter, or a group of failures, holds, or on their failed steps: shown first, then done by the engines piece by piece."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from flask import Blueprint, Response, request, url_for

from engine import batches
from engine.access.permissions import Namespaces
from engine.batches import MOST_ITEMS, BatchAction
from engine.errors import RequestError, WrongState
from engine.finding import failures
from engine.measures import standing
from webapp.access import allowed_namespaces, note_act, require
from webapp.database import database
from webapp.downloads import asked_format, list_file, rows_of
from webapp.filters import plural, sentence
from webapp.htmx import Notice, asks_for_regions, done, given_reason, live_regions, page, regions
from webapp.listing import matching
from webapp.previews import read_result
from webapp.routes import rule_of
from webapp.security import actor
from webapp.task_filter import read_filter

EXAMPLES = 20
LOOKED = "; of the newest "
ITEMS_SHOWN = 100
IN_A_FILE = 10_000
COLUMNS = ("batch_id", "action", "about", "namespaces", "actor", "reason", "item_count", "done_count", "refused_count", "created_at", "finished_at", "stopped_by")
ITEM_COLUMNS = ("item_no", "task_id", "step_name", "outcome", "message")

blueprint = Blueprint("batches", __name__)


@dataclass(frozen=True, slots=True)
class Verb:
    """What can be done to many: what the button says, what the engine calls it, and whether it is done to their failed steps."""

    word: str
    action: BatchAction
    on_steps: bool
    past: str


VERBS: Mapping[str, Verb] = {
    "retry": Verb("Retry", "retry", False, "retried"),
    "cancellation": Verb("Cancel", "cancel", False, "cancelled"),
    "pause": Verb("Pause", "pause", False, "paused"),
    "resumption": Verb("Resume", "resume", False, "resumed"),
    "step-retry": Verb("Retry", "retry", True, "retried"),
    "step-skip": Verb("Skip", "skip", True, "skipped"),
    "step-resolution": Verb("Resolve", "resolve", True, "resolved"),
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """What an action would be done to: the items, how they were chosen in words, and the parameters that choose them again. `refused` counts the others by why, `is_cut`: there are older ones, or may be."""

    items: list[tuple[str, str | None]]
    about: str
    parameters: dict[str, str]
    back: str
    refused: Mapping[str, int]
    is_cut: bool


@blueprint.get("/batches")
def index() -> Response:
    """The newest batches; for htmx the region of their rows."""
    here = allowed_namespaces("tasker.task:index")
    if form := asked_format():
        return list_file("batches", COLUMNS, [rows_of(batches.batches(database(), namespaces=here, limit=IN_A_FILE), COLUMNS)], form)
    found = batches.batches(database(), namespaces=here)
    return regions(["batches/_list.html"], found=found, verbs=VERBS) if asks_for_regions() else page("batches/index.html", found=found, verbs=VERBS)


@blueprint.get("/batches/new/<noun>")
def new(noun: str) -> Response:
    """What would be done to how many, before it is."""
    return _unchosen(noun) or _preview(noun, 200, None)


@blueprint.post("/batches/new/<noun>")
def make(noun: str) -> Response:
    """Put the batch on record, if it holds as many as were shown; a form that comes again leads to the batch that it has made."""
    key = _key()
    if key and (known := batches.batch_of_key(database(), key)) is not None:
        return done("This form was sent before: this is the batch it made. Nothing new was begun.", url_for("batches.show", batch_id=known))
    if (refused := _unchosen(noun)) is not None:
        return refused
    chosen = _chosen(noun)
    if request.form.get("count") != str(len(chosen.items)):
        return _preview(noun, 409, Notice("refused", "There are more or fewer of them than were shown, and nothing was done. This is what it would be now."))
    try:
        given = read_result(request.form.get("result", "")) if VERBS[noun].action == "resolve" else None
        made = batches.make_batch(database(), VERBS[noun].action, chosen.items, about=chosen.about, actor=actor(), reason=given_reason(), key=key, given=given)
    except RequestError as error:
        return _preview(noun, 422, Notice("refused", sentence(error)))
    note_act("done", given_reason())
    return done("The engines are at it.", url_for("batches.show", batch_id=made))


@blueprint.get("/batches/<int:batch_id>")
def show(batch_id: int) -> Response:
    """How far a batch is, and what came of its items; for htmx the region of that."""
    return _show(batch_id)


@blueprint.post("/batches/<int:batch_id>/stop")
def stop(batch_id: int) -> Response:
    """Leave undone what is not done yet."""
    require_stopping(batch_id)
    try:
        batches.stop_batch(database(), batch_id, actor=actor())
    except WrongState as error:
        return _show(batch_id, 409, Notice("refused", sentence(error)))
    note_act("done", given_reason())
    return done("The rest is left as it is.", url_for("batches.show", batch_id=batch_id))


def require_stopping(batch_id: int) -> None:
    """The caller may see the batch, and change tasks wherever it does. Raises as `require`."""
    found = batches.batch(database(), batch_id, namespaces=allowed_namespaces("tasker.task:index"))
    for namespace in found.namespaces:
        require("tasker.task:update", namespace)


def _show(batch_id: int, status: int = 200, notice: Notice | None = None) -> Response:
    found = batches.batch(database(), batch_id, namespaces=allowed_namespaces("tasker.task:index"))
    if form := asked_format():
        return list_file(f"batch-{batch_id}", ITEM_COLUMNS, [rows_of(batches.batch_items(database(), batch_id, limit=MOST_ITEMS), ITEM_COLUMNS)], form)
    seen: dict[str, Any] = {"batch": found, "items": batches.batch_items(database(), batch_id, limit=ITEMS_SHOWN)}
    if asks_for_regions():
        return regions(live_regions(("batches/_state.html",), is_open=found.finished_at is None), status=status, notice=notice, **seen)
    return page("batches/show.html", status=status, notice=notice, **seen)


def _key() -> str | None:
    """Of the form that was sent: sent twice, it makes one batch."""
    given = request.form.get("key", "")
    return f"{actor()} {given}" if given.isalnum() and len(given) <= 64 else None


def _unchosen(noun: str) -> Response | None:
    """The page that asks for a filter, or None where all of one can be read: the rest of it would hold more than was meant."""
    asked = read_filter(request.values)
    if _group_key(request.values) or (asked.chosen.parameters() and not asked.problems):
        return None
    typed: dict[str, Any] = {name: text for name, text in asked.typed.items() if text}
    groups = VERBS[noun].on_steps and not typed
    back = url_for("failures.index") if groups else url_for("tasks.index", **typed)
    return page("batches/unchosen.html", status=422, verb=VERBS[noun], groups=groups, problems=asked.problems.values(), back=back)


def _preview(noun: str, status: int, notice: Notice | None) -> Response:
    chosen = _chosen(noun)
    typed = {name: request.form.get(name, "") for name in ("reason", "result")}
    return page("batches/new.html", status=status, notice=notice, verb=VERBS[noun], noun=noun, chosen=chosen, examples=chosen.items[:EXAMPLES], most=MOST_ITEMS, key=uuid4().hex, typed=typed)


def _chosen(noun: str) -> Chosen:
    return choose(noun, request.values)


def choose(noun: str, parameters: Mapping[str, str]) -> Chosen:
    """What the caller may do this to: the group that `failure` names, or what the filter of the parameters holds."""
    here = allowed_namespaces(str(rule_of("batches.make", {"noun": noun})))
    key = _group_key(parameters)
    return _of_group(VERBS[noun], key, here) if key else _of_filter(noun, parameters, here)


def _group_key(parameters: Mapping[str, str]) -> str:
    return parameters.get("failure", "").replace("\x00", "")


def _of_group(verb: Verb, key: str, here: Namespaces) -> Chosen:
    group = failures.failure_group(database(), key, namespaces=here)
    asked = failures.failed_steps(database(), group, most=MOST_ITEMS, open_only=verb.action == "cancel")
    # of a whole task once, however many of its steps are in the group
    items: list[tuple[str, str | None]] = list(asked.steps) if verb.on_steps else [(task, None) for task in dict.fromkeys(task for task, _ in asked.steps)]
    healed = f"; a later run has done the work of {'at least ' if group.is_cut else ''}{plural(group.healed_count, 'task')} of them" if group.healed_count else ""
    about = f"{group.namespace}/{group.name} {group.step_name}: {group.signature}{healed}{_left(asked)}"
    found = _weighed(verb, items)
    return Chosen(found.items, about, {"failure": key}, url_for("failures.show", key=key), found.refused, asked.is_cut)


def _left(asked: failures.FailedSteps) -> str:
    if not asked.is_cut:
        return ""
    if len(asked.steps) >= MOST_ITEMS:
        return f"{LOOKED}{MOST_ITEMS:,} steps of them, older ones are left for another batch"
    return f"{LOOKED}{failures.REACHED:,} tasks of the workflow with a failed step, older ones were not looked through"


def _of_filter(noun: str, given: Mapping[str, str], here: Namespaces) -> Chosen:
    chosen = read_filter(given).chosen
    numbers, looked_at = matching(chosen, MOST_ITEMS + 1, here)
    parameters, too_many = chosen.parameters(), VERBS[noun].on_steps and len(numbers) > MOST_ITEMS
    about = ", ".join(f"{name} {value}" for name, value in parameters.items()) or "all tasks"
    about += f"{LOOKED}{looked_at:,} tasks, older ones were not looked through" if looked_at else ""
    about += f"{LOOKED}{MOST_ITEMS:,} of them, older ones were not looked through" if too_many else ""
    items, what = _items(VERBS[noun], numbers)
    found = _weighed(VERBS[noun], items)
    return Chosen(found.items, f"{plural(len(found.items), what)}: {about}", parameters, url_for("tasks.index", **dict[str, Any](parameters)), found.refused, too_many or looked_at is not None)


def _weighed(verb: Verb, items: list[tuple[str, str | None]]) -> batches.Weighed:
    """What it would be done to. More than a batch holds are left as they are: there may be others behind them, which nobody has weighed."""
    return batches.Weighed(items, {}) if len(items) > MOST_ITEMS else batches.weigh(database(), verb.action, items)


def _items(verb: Verb, numbers: list[int]) -> tuple[list[tuple[str, str | None]], str]:
    """The items of these tasks, and what each of them is called."""
    if verb.on_steps:
        return batches.failed_steps_of(database(), numbers), "failed step"
    return [(task, None) for task in standing.task_ids(database(), numbers)], "task"
