"""`/tasks/<id>/compare/<other>`: two tasks beside each other; without the other, the task's last good one."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, Response, make_response, redirect, request, url_for

from engine import queries
from engine.measures import comparison
from webapp.access import find_task
from webapp.comparison import Side, StepPair
from webapp.comparison import comparison as compared
from webapp.database import database
from webapp.downloads import Row, asked_format, list_file
from webapp.htmx import page

COLUMNS = ("step_name", "compared", "here_state", "there_state", "here_seconds", "there_seconds", "here_attempts", "there_attempts")
COMPARED = {"same": "same", "changed": "different", "added": "only here", "removed": "only there"}
READ = "tasker.task:show"
NO_ID = "This is no id of a task; it reads like 0198c0de-0000-7000-8000-000000000000."

blueprint = Blueprint("comparing", __name__)


@blueprint.get("/tasks/<uuid:task_id>/compare")
def choose(task_id: UUID) -> Response:
    """Leads to the comparison `with` the task that is named, or with the last good one; a form where there is neither."""
    typed = request.args.get("with", "").strip()[:80]
    other = _id(typed) if typed else comparison.last_good(database(), str(task_id))
    if other is not None:
        return make_response(redirect(url_for("comparing.show", task_id=task_id, other_id=other), code=303))
    return _choose(task_id, typed, NO_ID if typed else None)


@blueprint.get("/tasks/<uuid:task_id>/compare/<uuid:other_id>")
def show(task_id: UUID, other_id: UUID) -> Response:
    """Inputs, states, results and times of both, where they first part, and both on one graph; every step of either as a file where that is asked for."""
    # not led to the other's database, which has no more of the first: each would lead to the other for ever
    _, place = find_task(READ, str(other_id))
    if place is not None:
        return _choose(task_id, str(other_id), f"That task is in the database {place.shard.name}; only tasks of one database can be compared.")
    found = compared(_side(task_id), _side(other_id))
    if form := asked_format():
        return list_file(f"{task_id}-compared", COLUMNS, [[_line(pair) for pair in found.steps]], form)
    return page("comparing/show.html", found=found)


def _line(pair: StepPair) -> Row:
    told: dict[str, object] = {"step_name": pair.name, "compared": COMPARED[pair.kind]}
    for side, step in (("here", pair.here), ("there", pair.there)):
        told |= {f"{side}_state": step and step.state, f"{side}_seconds": step and step.duration_seconds, f"{side}_attempts": step and step.attempts}
    return told


def _choose(task_id: UUID, typed: str, problem: str | None) -> Response:
    task = queries.task_row(database(), str(task_id))
    return page("comparing/choose.html", status=422 if problem else 200, task=task, typed=typed, problem=problem)


def _side(task_id: UUID) -> Side:
    detail = queries.task(database(), str(task_id), items=0)
    names = [step.name for step in detail.steps if step.item_of is None]
    return Side(detail, queries.results(database(), str(task_id), names))


def _id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
