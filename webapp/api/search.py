"""`/search`: tasks, failures and workflows by whatever one knows of them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Response
from marshmallow import Schema, fields
from marshmallow.validate import Range

from engine.finding import search
from webapp.api import shapes
from webapp.api.blueprint import Endpoints
from webapp.api.fields import Number, maybe_text, maybe_time, names, said, text
from webapp.search import look_for

endpoints = Endpoints("search", "Finding by words")


class SearchQuery(Schema):
    q = text(search.MAX_TEXT, required=True, metadata=said("An id or its beginning, a correlation id, or words; the last word may be a beginning"))
    limit = Number(load_default=search.USUAL_FOUND, validate=Range(1, search.MAX_FOUND), metadata=said("Of each kind"))
    tasks_before = fields.String(load_default=None, metadata=said("`older_tasks` of an answer"))
    steps_before = fields.String(load_default=None, metadata=said("`older_steps` of an answer"))


class FoundTaskSchema(Schema):
    task_id = fields.UUID(required=True)
    namespace = fields.String(required=True)
    name = fields.String(required=True)
    version = fields.String(required=True)
    state = fields.String(required=True)
    tags = names()
    created_at = fields.DateTime(required=True)
    finished_at = maybe_time()


class FoundStepSchema(Schema):
    task_id = fields.UUID(required=True)
    step_name = fields.String(required=True)
    state = fields.String(required=True)
    namespace = fields.String(required=True)
    name = fields.String(required=True)
    version = fields.String(required=True)
    error = fields.String(required=True, metadata=said("The beginning of its last error"))


class FoundWorkflowSchema(Schema):
    namespace = fields.String(required=True)
    name = fields.String(required=True)
    version = fields.String(required=True)
    description = fields.String(required=True)
    step_name = maybe_text()


class FoundSchema(Schema):
    tasks = fields.List(fields.Nested(FoundTaskSchema), required=True)
    steps = fields.List(fields.Nested(FoundStepSchema), required=True)
    workflows = fields.List(fields.Nested(FoundWorkflowSchema), required=True)
    older_tasks = maybe_text()
    older_steps = maybe_text()


@endpoints.route("/search")
@endpoints.arguments(SearchQuery, location="query")
@endpoints.response(200, FoundSchema)
@endpoints.may_answer(422)
def index(asked: dict[str, Any]) -> Response:
    """Find tasks, steps that failed, and workflows, newest first"""
    found = look_for(asked.pop("q"), **asked)
    return shapes.respond({
        "tasks": [_told(one, FoundTaskSchema) for one in found.tasks],
        "steps": [_told(one, FoundStepSchema) for one in found.steps],
        "workflows": [_told(one, FoundWorkflowSchema) for one in found.workflows],
        "older_tasks": found.older_tasks,
        "older_steps": found.older_steps,
    })


def _told(row: Any, schema: type[Schema]) -> dict[str, Any]:
    known = asdict(row)
    return {name: shapes.plain(known[name]) for name in schema().fields}
