"""`/tasks/<id>/revelation`: one masked value of a task, for callers with the right to see it; each is on record before it is told."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Response, request
from marshmallow import Schema, fields
from marshmallow.validate import Length

from engine import revelations
from engine.revelations import SecretPlace
from webapp.access import require_task
from webapp.api import access, shapes
from webapp.api.blueprint import Endpoints
from webapp.api.bodies import StrictSchema
from webapp.api.fields import maybe_text, said, text
from webapp.database import database
from webapp.htmx import MAX_REASON

endpoints = Endpoints("revelations", "Masked values")


class RevelationSchema(StrictSchema):
    step_name = text(200, allow_none=True, load_default=None, metadata=said("Of whose result it is a part; left out or null: of the task's context"))
    place = fields.List(fields.String(), required=True, validate=Length(max=64), metadata=said("The keys that lead to it, such as [\"card\", \"number\"]; an entry of a list is its number as text"))
    reason = text(MAX_REASON, required=True, metadata=said("Kept in the audit with your name"))


class RevealedSchema(Schema):
    task_id = fields.UUID(required=True)
    step_name = maybe_text()
    place = fields.List(fields.String(), required=True)
    value = fields.Raw(required=True, allow_none=True)


@endpoints.route("/tasks/<uuid:task_id>/revelation", methods=["POST"])
@endpoints.arguments(RevelationSchema)
@endpoints.response(200, RevealedSchema)
@endpoints.may_answer(400, 404, 413, 415, 422)
def reveal(given: dict[str, Any], task_id: UUID) -> Response:
    """Reveal one masked value of a task

    Needs the right `tasker.task:reveal`; who saw what and why is in the audit.
    """
    known: dict[str, Any] = {"namespace": require_task(revelations.PERMISSION, str(task_id)), "actor": access.actor(), "address": request.remote_addr}
    wanted = SecretPlace(given["step_name"], tuple(given["place"]))
    value = revelations.reveal(database(), str(task_id), wanted, reason=given["reason"].replace("\x00", ""), **known)
    return shapes.respond({"task_id": str(task_id), "step_name": wanted.step_name, "place": list(wanted.place), "value": value})
