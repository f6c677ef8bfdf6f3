"""`/tasks/<id>/revelation`: what of a task is masked, and one value of that for who gives a reason; the answer is kept nowhere."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, request

from engine import json_text, queries, revelations
from engine.errors import NotFound, RequestError
from engine.revelations import SecretPlace
from webapp.access import require_task
from webapp.database import database
from webapp.filters import sentence
from webapp.htmx import Notice, given_reason, page
from webapp.security import actor

blueprint = Blueprint("revelations", __name__)


@blueprint.get("/tasks/<uuid:task_id>/revelation")
def form(task_id: UUID) -> Response:
    """Which values are masked, and the form that asks for one."""
    return _shown(task_id)


@blueprint.post("/tasks/<uuid:task_id>/revelation")
def revelation(task_id: UUID) -> Response:
    """One value, once its telling is on record."""
    known: dict[str, Any] = {"namespace": require_task(revelations.PERMISSION, str(task_id)), "actor": actor(), "address": request.remote_addr}
    try:
        wanted = _wanted(request.form.get("value", ""))
        value = revelations.reveal(database(), str(task_id), wanted, reason=given_reason(), **known)
    except RequestError as error:
        return _shown(task_id, 422, problem=sentence(error.problems[0].message))
    except NotFound as error:
        return _shown(task_id, 404, notice=Notice("refused", sentence(error)))
    return _shown(task_id, revealed=wanted, value=value)


def _wanted(text: str) -> SecretPlace:
    """The value that the form names. Raises `NotFound` for what the form did not offer."""
    try:
        step_name, place = json_text.read_input(text)
        return SecretPlace(step_name, tuple(place))
    except (ValueError, TypeError, RequestError):
        raise NotFound("choose one of the values below") from None


def written(place: SecretPlace) -> str:
    """The value's place as the form sends it."""
    return json.dumps([place.step_name, place.place])


def _shown(task_id: UUID, status: int = 200, **seen: Any) -> Response:
    places = revelations.secret_places(database(), str(task_id))
    known: dict[str, Any] = {"notice": None, "problem": "", "revealed": None, "value": None} | seen
    notice = known.pop("notice")
    task = queries.task_row(database(), str(task_id))
    choices = [(written(each), each.words) for each in places]
    return page("tasks/revelation.html", status=status, notice=notice, task=task, choices=choices, chosen=request.form.get("value", ""), reason=given_reason() or "", **known)
