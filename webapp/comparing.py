"""`/tasks/<id>/compare/<other>`: two tasks beside each other; without the other, the task's last good one."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, Response, make_response, redirect, request, url_for

from engine import comparison, queries
from webapp.access import require_task
from webapp.comparison import Side
from webapp.comparison import comparison as compared
from webapp.database import database
from webapp.htmx import page

READ = "tasker.task:show"

blueprint = Blueprint("comparing", __name__)


@blueprint.get("/tasks/<uuid:task_id>/compare")
def choose(task_id: UUID) -> Response:
    """Leads to the comparison `with` the task that is named, or with the last good one; a form where there is neither."""
    typed = request.args.get("with", "").strip()[:80]
    other = _id(typed) if typed else comparison.last_good(database(), str(task_id))
    if other is not None:
        return make_response(redirect(url_for("comparing.show", task_id=task_id, other_id=other), code=303))
    task = queries.task_row(database(), str(task_id))
    return page("comparing/choose.html", status=422 if typed else 200, task=task, typed=typed)


@blueprint.get("/tasks/<uuid:task_id>/compare/<uuid:other_id>")
def show(task_id: UUID, other_id: UUID) -> Response:
    """Inputs, states, results and times of both, where they first part, and both on one graph."""
    require_task(READ, str(other_id))
    return page("comparing/show.html", found=compared(_side(task_id), _side(other_id)))


def _side(task_id: UUID) -> Side:
    detail = queries.task(database(), str(task_id), items=0)
    names = [step.name for step in detail.steps if step.item_of is None]
    return Side(detail, queries.results(database(), str(task_id), names))


def _id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
