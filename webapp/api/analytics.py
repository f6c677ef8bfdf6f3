"""`/analytics`: how workflows fare over a range of time, and what holds them up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Response
from marshmallow import Schema, fields
from marshmallow.validate import OneOf

from engine.errors import Problem, RequestError
from engine.measures import analytics, spans
from engine.measures.figures import Ends, PathShare, Scope, SlowTask, StepFigures, WorkflowFigures
from engine.measures.quantiles import Spread
from engine.measures.spans import Range
from webapp.api import access, shapes
from webapp.api.blueprint import Endpoints
from webapp.api.fields import said, text
from webapp.database import database

READ = "tasker.analytics:index"
USUAL = "day"
FROM, TO = "from", "to"

endpoints = Endpoints("analytics", "How workflows fare over time")


class AnalyticsQuery(Schema):
    period = fields.String(load_default=None, validate=OneOf(list(spans.PERIODS)), metadata=said("Up to now; a day where no time is given"))
    from_at = fields.AwareDateTime(load_default=None, default_timezone=UTC, data_key=FROM, metadata=said("Widened to the minute, for times older than two days to the hour, and to the day for more than 31 days"))
    to_at = fields.AwareDateTime(load_default=None, default_timezone=UTC, data_key=TO, metadata=said("Left out: now"))
    namespace = text(200, load_default=None)
    name = text(200, load_default=None, metadata=said("The workflow's"))
    version = text(200, load_default=None)


def maybe_number() -> fields.Float:
    """A number, or null where nothing was timed."""
    return fields.Float(required=True, allow_none=True)


class SpreadSchema(Schema):
    count = fields.Integer(required=True)
    mean = maybe_number()
    p50 = maybe_number()
    p95 = maybe_number()
    p99 = maybe_number()
    longest = maybe_number()


class EndsSchema(Schema):
    ended_count = fields.Integer(required=True)
    completed_count = fields.Integer(required=True)
    failed_count = fields.Integer(required=True)
    cancelled_count = fields.Integer(required=True)
    resolved_count = fields.Integer(required=True)
    completion_rate = maybe_number()
    error_rate = maybe_number()


class TaskEndsSchema(EndsSchema):
    per_hour = fields.Float(required=True)


class WorkflowFiguresSchema(Schema):
    namespace = fields.String(required=True)
    name = fields.String(required=True)
    version = fields.String(required=True)
    tasks = fields.Nested(EndsSchema, required=True)
    task_seconds = fields.Nested(SpreadSchema, required=True)


class SlotSchema(Schema):
    begins_at = fields.DateTime(required=True)
    tasks = fields.Nested(EndsSchema, required=True)
    task_seconds = fields.Nested(SpreadSchema, required=True)


class RangeSchema(Schema):
    from_at = fields.DateTime(required=True, data_key=FROM)
    to_at = fields.DateTime(required=True, data_key=TO)
    slot_seconds = fields.Integer(required=True, metadata=said("How long each of the slots is"))
    uncounted_count = fields.Integer(required=True, metadata=said("Moves so new that no figure knows of them, counted up to 10,001"))


class PerformanceSchema(RangeSchema):
    tasks = fields.Nested(TaskEndsSchema, required=True)
    task_seconds = fields.Nested(SpreadSchema, required=True, metadata=said("Completed tasks, from the first step to the end"))
    step_seconds = fields.Nested(SpreadSchema, required=True, metadata=said("Attempts of steps that completed"))
    queue_seconds = fields.Nested(SpreadSchema, required=True, metadata=said("From when a step could run until an engine began"))
    slots = fields.List(fields.Nested(SlotSchema), required=True)
    workflows = fields.List(fields.Nested(WorkflowFiguresSchema), required=True, metadata=said("The busiest first"))


class StepFiguresSchema(Schema):
    namespace = fields.String(required=True)
    name = fields.String(required=True)
    version = fields.String(required=True)
    step_name = fields.String(required=True)
    step_seconds = fields.Nested(SpreadSchema, required=True)
    queue_seconds = fields.Nested(SpreadSchema, required=True)
    start_count = fields.Integer(required=True)
    retry_count = fields.Integer(required=True)
    failed_count = fields.Integer(required=True)
    timeout_count = fields.Integer(required=True)
    crash_count = fields.Integer(required=True)
    failed_seconds = fields.Float(required=True, metadata=said("Time that went into attempts that did not complete"))


class SlowTaskSchema(Schema):
    task_id = fields.UUID(required=True)
    version = fields.String(required=True)
    finished_at = fields.DateTime(required=True)
    took_seconds = fields.Float(required=True)


class PathShareSchema(Schema):
    step_name = fields.String(required=True)
    task_count = fields.Integer(required=True, metadata=said("Tasks on whose critical path it was"))
    mean_seconds = fields.Float(required=True, metadata=said("How long it held a task up on whose critical path it was"))
    share = fields.Float(required=True, metadata=said("Of the time of all the tasks"))


class CriticalPathsSchema(Schema):
    version = fields.String(required=True)
    task_count = fields.Integer(required=True)
    shares = fields.List(fields.Nested(PathShareSchema), required=True)


class BottlenecksSchema(RangeSchema):
    slowest_steps = fields.List(fields.Nested(StepFiguresSchema), required=True)
    longest_waits = fields.List(fields.Nested(StepFiguresSchema), required=True)
    retry_hot_spots = fields.List(fields.Nested(StepFiguresSchema), required=True)
    slowest_workflows = fields.List(fields.Nested(WorkflowFiguresSchema), required=True)
    slowest_tasks = fields.List(fields.Nested(SlowTaskSchema), required=True, metadata=said("Where one workflow is named, of its newest tasks made before the range ends that are still kept"))
    critical_path = fields.Nested(CriticalPathsSchema, required=True, allow_none=True, metadata=said("Where one workflow is named: which step would shorten it"))


@endpoints.route("/analytics/performance")
@endpoints.arguments(AnalyticsQuery, location="query")
@endpoints.response(200, PerformanceSchema)
@endpoints.may_answer(404, 422)
def performance(asked: dict[str, Any]) -> Response:
    """Tell how many tasks ended in which way, and how long tasks, steps and waits took"""
    found = analytics.performance(database(), _scope(asked), _range(asked), namespaces=access.allowed_namespaces(READ))
    return shapes.respond({
        **_told_range(found.range, found.uncounted_count),
        "tasks": {**_ends(found.ends), "per_hour": found.tasks_per_hour},
        "task_seconds": _spread(found.task),
        "step_seconds": _spread(found.step),
        "queue_seconds": _spread(found.queue),
        "slots": [{"begins_at": shapes.plain(slot.begins_at), "tasks": _ends(slot.ends), "task_seconds": _spread(slot.took)} for slot in found.slots],
        "workflows": [_workflow(row) for row in found.workflows],
    })


@endpoints.route("/analytics/bottlenecks")
@endpoints.arguments(AnalyticsQuery, location="query")
@endpoints.response(200, BottlenecksSchema)
@endpoints.may_answer(404, 422)
def bottlenecks(asked: dict[str, Any]) -> Response:
    """Tell which steps are slow, wait long or fail, and which would shorten a workflow"""
    found = analytics.bottlenecks(database(), _scope(asked), _range(asked), namespaces=access.allowed_namespaces(READ))
    critical = found.critical and {"version": found.critical.version, "task_count": found.critical.task_count, "shares": [_share(one) for one in found.critical.shares]}
    return shapes.respond({
        **_told_range(found.range, found.uncounted_count),
        "slowest_steps": [_step(row) for row in found.slowest_steps],
        "longest_waits": [_step(row) for row in found.longest_waits],
        "retry_hot_spots": [_step(row) for row in found.retry_hot_spots],
        "slowest_workflows": [_workflow(row) for row in found.slowest_workflows],
        "slowest_tasks": [_task(one) for one in found.slowest_tasks],
        "critical_path": critical,
    })


def _scope(asked: dict[str, Any]) -> Scope:
    return Scope(asked["namespace"], asked["name"], asked["version"])


def _range(asked: dict[str, Any]) -> Range:
    """Raises `RequestError` for a period with times beside it, and for times in the wrong order."""
    now, begin, end = analytics.now(database()), asked["from_at"], asked["to_at"]
    if asked["period"] and (begin or end):
        raise RequestError([Problem("period", "invalid", f"give either a period, or {FROM} and {TO}")])
    if not begin and not end:
        return spans.last(spans.PERIODS[asked["period"] or USUAL], now)
    end = end or now
    begin = begin or max(end, spans.EPOCH + spans.PERIODS[USUAL]) - spans.PERIODS[USUAL]  # the calendar itself begins some time
    if begin >= end or begin.year < spans.EPOCH.year:
        raise RequestError([Problem(FROM, "invalid", f"must be before {TO}, and not before {spans.EPOCH.year}")])
    return spans.between(begin, end, now)


def _told_range(asked: Range, uncounted_count: int) -> dict[str, Any]:
    return {FROM: _time(asked.from_at), TO: _time(asked.to_at), "slot_seconds": int(asked.slot / timedelta(seconds=1)), "uncounted_count": uncounted_count}


def _time(at: datetime) -> Any:
    return shapes.plain(at)


def _ends(ends: Ends) -> dict[str, Any]:
    return {name: getattr(ends, name) for name in EndsSchema().fields}


def _spread(spread: Spread) -> dict[str, Any]:
    return {name: getattr(spread, name) for name in SpreadSchema().fields}


def _workflow(row: WorkflowFigures) -> dict[str, Any]:
    return {"namespace": row.namespace, "name": row.name, "version": row.version, "tasks": _ends(row.ends), "task_seconds": _spread(row.took)}


COUNTS = ("start_count", "retry_count", "failed_count", "timeout_count", "crash_count", "failed_seconds")


def _step(row: StepFigures) -> dict[str, Any]:
    named = {name: getattr(row, name) for name in ("namespace", "name", "version", "step_name")}
    return {**named, "step_seconds": _spread(row.took), "queue_seconds": _spread(row.waited), **{name: getattr(row, name) for name in COUNTS}}


def _task(one: SlowTask) -> dict[str, Any]:
    return {"task_id": one.task_id, "version": one.version, "finished_at": _time(one.finished_at), "took_seconds": one.took_seconds}


def _share(one: PathShare) -> dict[str, Any]:
    return {"step_name": one.step_name, "task_count": one.task_count, "mean_seconds": one.mean_seconds, "share": one.share}
