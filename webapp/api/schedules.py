"""`/schedules`: workflows that run again and again."""

from __future__ import annotations

from typing import Any

from flask import Response

from engine import queries, schedules
from engine.errors import Problem, RequestError
from engine.timing import Timing, cron, every
from webapp.api import access, limits, shapes
from webapp.api.answers import MadeTaskSchema, ScheduleSchema, SchedulesSchema
from webapp.api.blueprint import PREFIX, Endpoints
from webapp.api.bodies import NamespaceQuery, ReasonSchema, ScheduleRequestSchema
from webapp.api.reading import from_root
from webapp.database import database
from webapp.shards import lead_to_namespaces

READ, CREATE = "tasker.schedule:index", "tasker.schedule:create"

endpoints = Endpoints("schedules", "Workflows that run again and again")


@endpoints.route("/schedules")
@endpoints.arguments(NamespaceQuery, location="query")
@endpoints.response(200, SchedulesSchema)
@endpoints.may_answer(422)
def index(asked: dict[str, Any]) -> Response:
    """List the schedules, of all namespaces or of one"""
    within = access.allowed_namespaces(READ)
    found = schedules.schedules(database(), namespace=asked["namespace"])
    return shapes.respond({"schedules": [shapes.schedule(row) for row in found if within is None or row.namespace in within]})


@endpoints.route("/schedules", methods=["POST"])
@endpoints.arguments(ScheduleRequestSchema)
@endpoints.response(201, ScheduleSchema)
@endpoints.may_answer(400, 404, 413, 415, 422)
def create(given: dict[str, Any]) -> Response:
    """Create a schedule

    Either `cron`, read by the clock of `time_zone`, or `every`.
    """
    timing = _timing(given.pop("cron"), given.pop("every"), given.pop("time_zone"))
    with access.hidden_as_missing(f"there is no workflow {given['namespace']}/{given['name']}"):
        access.require(CREATE, given["namespace"])
    lead_to_namespaces({given["namespace"]})
    definition = queries.definition(database(), given["namespace"], given["name"], given["version"])
    access.require(CREATE, definition.namespace)
    try:
        made = schedules.add_schedule(database(), timing, actor=access.actor(), **given)
    except RequestError as error:
        raise RequestError([Problem(from_root(one.path, "context") if one.path.startswith("$") else one.path, one.code, one.message) for one in error.problems]) from None
    access.note("done", CREATE, made.namespace, f"schedule {made.schedule_id}")
    return shapes.respond(shapes.schedule(made), 201, location=f"{PREFIX}/schedules/{made.schedule_id}")


@endpoints.route("/schedules/<int:schedule_id>")
@endpoints.response(200, ScheduleSchema)
@endpoints.may_answer(404)
def show(schedule_id: int) -> Response:
    """Show a schedule with its latest tasks"""
    return shapes.respond(shapes.schedule(schedules.schedule_row(database(), schedule_id)))


@endpoints.route("/schedules/<int:schedule_id>", methods=["DELETE"])
@endpoints.response(204)
@endpoints.may_answer(404)
def remove(schedule_id: int) -> Response:
    """Remove a schedule; its tasks stay"""
    schedules.remove_schedule(database(), schedule_id)
    access.note_act("done")
    return Response(status=204)


@endpoints.route("/schedules/<int:schedule_id>/pause", methods=["POST"])
@endpoints.arguments(ReasonSchema, required=False)
@endpoints.response(200, ScheduleSchema)
@endpoints.may_answer(400, 404, 409, 413, 415, 422)
def pause(given: dict[str, Any], schedule_id: int) -> Response:
    """Pause a schedule: it makes no task until it is resumed"""
    row = schedules.pause_schedule(database(), schedule_id, actor=access.actor(), reason=given.get("reason"))
    access.note_act("done", given.get("reason"))
    return shapes.respond(shapes.schedule(row))


@endpoints.route("/schedules/<int:schedule_id>/resumption", methods=["POST"])
@endpoints.arguments(ReasonSchema, required=False)
@endpoints.response(200, ScheduleSchema)
@endpoints.may_answer(400, 404, 409, 413, 415, 422)
def resumption(given: dict[str, Any], schedule_id: int) -> Response:
    """Let a paused schedule go on; what it did not run is not made up for"""
    row = schedules.resume_schedule(database(), schedule_id, actor=access.actor(), reason=given.get("reason"))
    access.note_act("done", given.get("reason"))
    return shapes.respond(shapes.schedule(row))


@endpoints.route("/schedules/<int:schedule_id>/run", methods=["POST"])
@endpoints.arguments(ReasonSchema, required=False)
@endpoints.response(201, MadeTaskSchema)
@endpoints.may_answer(400, 404, 413, 415, 422)
def run(given: dict[str, Any], schedule_id: int) -> Response:
    """Make a task of a schedule now; its own times stay as they are"""
    limits.refuse_when_buried(database())
    task_id = schedules.run_schedule(database(), schedule_id, actor=access.actor(), reason=given.get("reason"))
    access.note_act("done", given.get("reason"))
    return shapes.respond({"task_id": task_id}, 201, location=f"{PREFIX}/tasks/{task_id}")


def _timing(expression: str | None, interval: str | None, time_zone: str) -> Timing:
    if (expression is None) == (interval is None):
        raise RequestError([Problem("cron", "ambiguous", "give either cron or every")])
    return every(str(interval)) if expression is None else cron(expression, time_zone)
