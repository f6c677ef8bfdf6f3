"""`/tasks`: made, listed and shown, with their steps and what they have logged."""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import UUID

from flask import Response, request

from engine import queries, tasks, trace_ids
from engine.errors import NotFound, Problem, RequestError
from engine.requests import TaskRequest
from engine.rows import DefinitionRow
from webapp.api import access, limits, shapes
from webapp.api.answers import (
    CreatedBatchSchema,
    CreatedSchema,
    LinePageSchema,
    StepDetailSchema,
    StepPageSchema,
    TaskDetailSchema,
    TaskPageSchema,
)
from webapp.api.blueprint import PREFIX, Endpoints
from webapp.api.bodies import MAX_BATCH, BatchSchema, LogQuery, StepsQuery, TaskRequestSchema, TasksQuery
from webapp.api.reading import from_root
from webapp.database import database
from webapp.listing import list_tasks
from webapp.request_log import correlation_id
from webapp.shards import lead_to_namespaces
from webapp.task_filter import read_filter

ITEMS_SHOWN = 200
CREATE = "tasker.task:create"
NOT_FROM_OUTSIDE = ("parent_task_id", "parent_step", "traceparent")
ETAG = {"ETag": {"description": "For If-Match of an action", "schema": {"type": "string"}}}
KEY = {"name": "Idempotency-Key", "in": "header", "description": "As idempotency_key in the body", "schema": {"type": "string", "maxLength": 255}}
CORRELATION = {"name": "X-Correlation-ID", "in": "header", "description": "As correlation_id in the body", "schema": {"type": "string", "maxLength": 255}}
TRACE = {"name": "traceparent", "in": "header", "description": "The caller's span, as W3C has it: the task belongs to its trace", "schema": {"type": "string"}}

endpoints = Endpoints("tasks", "Runs of a workflow")


@endpoints.route("/tasks", methods=["POST"])
@endpoints.arguments(TaskRequestSchema)
@endpoints.describe(**{"x-headers": [KEY, CORRELATION, TRACE]})
@endpoints.response(201, CreatedSchema, description="The task is on record")
@endpoints.alt_response(200, schema=CreatedSchema, description="This idempotency key was used before: the task it made", success=True)
@endpoints.may_answer(400, 404, 413, 415, 422)
def create(given: dict[str, Any]) -> Response:
    """Create a task

    The task and all its steps are on record when this answers 201; engines take it from there. With an idempotency key a repeated request answers the
    first task with 200, however often and by however many clients it is sent.
    """
    wanted = _wanted(given, request.headers.get("Idempotency-Key"))
    lead_to_namespaces({wanted.namespace})
    definition = _definition(wanted)
    limits.refuse_when_buried(database())
    try:
        [(task_id, is_new)] = tasks.create_tasks(database(), [wanted])
    except RequestError as error:
        raise RequestError(_in_body(error)) from None
    if is_new:
        access.note("done", CREATE, definition.namespace, f"task {task_id}", wanted.reason)
    made = _made(task_id, is_new, definition)
    return shapes.respond(made, 201 if is_new else 200, location=f"{PREFIX}/tasks/{task_id}")


@endpoints.route("/tasks/batch", methods=["POST"])
@endpoints.arguments(BatchSchema)
@endpoints.describe(**{"x-headers": [CORRELATION, TRACE]})
@endpoints.response(201, CreatedBatchSchema, description="All tasks are on record, in the order of the request")
@endpoints.alt_response(200, schema=CreatedBatchSchema, description="Every one of them was there before, by its idempotency key", success=True)
@endpoints.may_answer(400, 413, 415, 422)
def create_batch(given: dict[str, Any]) -> Response:
    """Create many tasks

    All of them in one transaction, or none; every error names the task it is in, such as `tasks[3].context.order_id`.
    """
    wanted = _all_wanted(given)
    lead_to_namespaces({each.namespace for each in wanted})
    definitions = _all_definitions(wanted)
    limits.refuse_when_buried(database())
    try:
        found = tasks.create_tasks(database(), wanted)
    except RequestError:
        raise RequestError(_all_problems(wanted)) from None
    _note_batch([definition.namespace for (_, is_new), definition in zip(found, definitions, strict=True) if is_new])
    made = [_made(task_id, is_new, definition) for (task_id, is_new), definition in zip(found, definitions, strict=True)]
    return shapes.respond({"tasks": made}, 201 if any(is_new for _, is_new in found) else 200)


@endpoints.route("/tasks")
@endpoints.arguments(TasksQuery, location="query")
@endpoints.response(200, TaskPageSchema)
@endpoints.may_answer(422)
def index(asked: dict[str, Any]) -> Response:
    """List tasks, newest first

    Every filter narrows the list. Filters that no index serves search the newest tasks that the others leave; `looked_at` says how many, and the cursor
    leads on to older ones.
    """
    limit = asked.pop("limit")
    read = read_filter({name: str(value) for name, value in asked.items()})
    if read.problems:
        raise RequestError([Problem(name, "invalid", words) for name, words in read.problems.items()])
    found = list_tasks(read, limit)
    cursor = None if found.older is None else str(found.older)
    return shapes.respond({"tasks": [shapes.task(row) for row in found.items], "next_cursor": cursor, "looked_at": found.looked_at})


@endpoints.route("/tasks/<uuid:task_id>")
@endpoints.response(200, TaskDetailSchema, headers=ETAG)
@endpoints.may_answer(404)
def show(task_id: UUID) -> Response:
    """Show a task with its steps"""
    detail, results = queries.task_with_results(database(), str(task_id), items=ITEMS_SHOWN)
    return shapes.respond(shapes.task_detail(detail, results), etag=shapes.task_tag(detail))


@endpoints.route("/tasks/<uuid:task_id>/steps")
@endpoints.arguments(StepsQuery, location="query")
@endpoints.response(200, StepPageSchema)
@endpoints.may_answer(404, 422)
def steps(asked: dict[str, Any], task_id: UUID) -> Response:
    """List the steps of a task, or the items of a map step, in their order"""
    first, limit, of = asked["cursor"], asked["limit"], asked["items_of"]
    if of is None:
        rows = queries.task(database(), str(task_id), items=0).steps[first : first + limit + 1]
    else:
        rows = queries.items(database(), str(task_id), of, first=min(first, 2**31 - 1_000), limit=limit + 1)
    return shapes.respond({"steps": [shapes.step(row) for row in rows[:limit]], "next_cursor": str(first + limit) if len(rows) > limit else None})


@endpoints.route("/tasks/<uuid:task_id>/steps/<step_name>")
@endpoints.response(200, StepDetailSchema, headers=ETAG)
@endpoints.may_answer(404)
def step(task_id: UUID, step_name: str) -> Response:
    """Show a step with its attempts and result"""
    detail = queries.step(database(), str(task_id), step_name)
    return shapes.respond(shapes.step_detail(detail), etag=shapes.step_tag(detail))


@endpoints.route("/tasks/<uuid:task_id>/log")
@endpoints.arguments(LogQuery, location="query")
@endpoints.response(200, LinePageSchema)
@endpoints.may_answer(404, 422)
def log(asked: dict[str, Any], task_id: UUID) -> Response:
    """What the attempts of a task have logged, oldest first"""
    return _log(task_id, None, asked)


@endpoints.route("/tasks/<uuid:task_id>/steps/<step_name>/log")
@endpoints.arguments(LogQuery, location="query")
@endpoints.response(200, LinePageSchema)
@endpoints.may_answer(404, 422)
def step_log(asked: dict[str, Any], task_id: UUID, step_name: str) -> Response:
    """What the attempts of a step have logged, oldest first"""
    return _log(task_id, queries.known_step(step_name), asked)


def _note_batch(namespaces: list[str]) -> None:
    for namespace, number in Counter(namespaces).items():
        access.note("done", CREATE, namespace, f"a batch of {number:,} tasks")


def _log(task_id: UUID, step_name: str | None, asked: dict[str, Any]) -> Response:
    chosen = {name: asked[name] for name in ("attempt", "level", "limit")}
    found = queries.lines(database(), str(task_id), step_name, after=asked["cursor"], **chosen)
    return shapes.respond({"lines": [shapes.line(row) for row in found.items], "next_cursor": None if found.later is None else str(found.later)})


def _wanted(given: dict[str, Any], key: str | None = None) -> TaskRequest:
    """The request in the body, with what the headers and the caller add to it. Raises `RequestError`."""
    added = {"initiator": access.actor(), "source_system": "api", "correlation_id": request.headers.get("X-Correlation-ID") or correlation_id()}
    if key is not None:
        added["idempotency_key"] = key
    foreign = [Problem(name, "unknown_key", f"unknown field {name!r}") for name in NOT_FROM_OUTSIDE if name in given]
    if key is not None and given.get("idempotency_key") not in (None, key):
        foreign.append(Problem("idempotency_key", "ambiguous", "differs from the header Idempotency-Key"))
    kept = {name: value for name, value in given.items() if value is not None or name not in added}
    try:
        wanted = TaskRequest.of({name: value for name, value in (added | kept).items() if name not in NOT_FROM_OUTSIDE} | _span())
    except RequestError as error:
        raise RequestError([*foreign, *_in_body(error)]) from None
    if foreign:
        raise RequestError(foreign)
    return wanted


def _span() -> dict[str, Any]:
    """The caller's span; one that is none is passed over, as W3C asks."""
    given = request.headers.get("traceparent", "")
    return {"traceparent": given} if trace_ids.is_well_formed(given) else {}


def _all_wanted(given: dict[str, Any]) -> list[TaskRequest]:
    """The requests of a batch. Raises `RequestError` with what is wrong in any of them."""
    listed = given.get("tasks")
    found = [Problem(name, "unknown_key", "a batch has tasks alone") for name in given if name != "tasks"]
    if "Idempotency-Key" in request.headers:
        found.append(Problem("", "ambiguous", "a batch has an idempotency_key in each task, not in a header"))
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_BATCH:
        found.append(Problem("tasks", "bad_type", f"must be a list of 1 to {MAX_BATCH:,} tasks"))
        raise RequestError(found)
    wanted: list[TaskRequest] = []
    for at, one in enumerate(listed):
        try:
            wanted.append(_wanted(_object(one)))
        except RequestError as error:
            found += _of_task(at, error.problems)
    if found:
        raise RequestError(found)
    return wanted


def _object(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise RequestError([Problem("", "bad_type", "must be a JSON object")])
    return given


def _definition(wanted: TaskRequest) -> DefinitionRow:
    """What the task would be made from, if the caller may make tasks of it. Raises `NotFound`."""
    try:
        definition = tasks.wanted_definition(database(), wanted)
    except NotFound:
        with access.hidden_as_missing(_no_workflow(wanted)):
            access.require(CREATE, wanted.namespace)
        raise
    with access.hidden_as_missing(_no_workflow(wanted)):
        access.require(CREATE, definition.namespace)
    return definition


def _all_definitions(wanted: list[TaskRequest]) -> list[DefinitionRow]:
    definitions: list[DefinitionRow] = []
    found: list[Problem] = []
    for at, one in enumerate(wanted):
        try:
            definitions.append(_definition(one))
        except NotFound as error:
            found += _of_task(at, [Problem("name", "not_found", str(error))])
    if found:
        raise RequestError(found)
    return definitions


def _all_problems(wanted: list[TaskRequest]) -> list[Problem]:
    return [one for at, each in enumerate(wanted) for one in _of_task(at, placed(tasks.request_problems(database(), each)))]


def _of_task(at: int, found: list[Problem]) -> list[Problem]:
    return [one.under(f"tasks[{at}]") for one in found]


def _in_body(error: RequestError) -> list[Problem]:
    return placed(error.problems)


def placed(found: list[Problem]) -> list[Problem]:
    """The problems with their places in the body: what is wrong in a context is told from the context's root."""
    return [Problem(from_root(one.path, "context") if one.path.startswith("$") else one.path, one.code, one.message) for one in found]


def _made(task_id: str, is_new: bool, definition: DefinitionRow) -> dict[str, Any]:
    about = definition if is_new else queries.task_row(database(), task_id)
    return {"task_id": task_id, "namespace": about.namespace, "name": about.name, "version": about.version, "created": is_new}


def _no_workflow(wanted: TaskRequest) -> str:
    return f"there is no workflow {wanted.namespace}/{wanted.name}"
