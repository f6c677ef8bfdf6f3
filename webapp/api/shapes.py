"""Rows as the API writes them: plain JSON with times in UTC, and an answer made of it. What is not named here is not told."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Response

from engine import json_text
from engine.rows import (
    AttemptRow,
    DefinitionRow,
    EngineRow,
    LineRow,
    Preview,
    ProgressRow,
    ScheduleRow,
    StepDetail,
    StepRow,
    TaskDetail,
    TaskRow,
    TemplateRow,
    WorkflowRow,
)

TASK = (
    "task_id", "namespace", "name", "version", "state", "paused", "priority", "tags", "initiator", "correlation_id", "created_at", "started_at",
    "finished_at", "run_at", "step_count", "done_count", "failed_count",
)  # fmt: skip
DETAIL = ("context", "reason", "source_system", "cancel_requested_at", "parent_task_id", "parent_step")
STEP = (
    "step_id", "step_no", "name", "state", "kind", "attempts", "retry_limit", "parents", "children", "satisfied_parents", "waiting_for", "started_at",
    "finished_at", "next_retry_at", "duration_seconds", "engine", "bypass", "passed_over", "item_of", "item_no", "item_states",
)  # fmt: skip
ATTEMPT = ("attempt", "state", "started_at", "finished_at", "duration_seconds", "engine")
TEMPLATE = (
    "name", "description", "kind", "handler", "retryable", "retry_limit", "timeout_ms", "backoff", "output_schema", "handler_config", "for_each",
    "resources",
    "needs", "limit",
)  # fmt: skip
SCHEDULE = (
    "schedule_id", "namespace", "name", "version", "policy", "context", "paused", "next_run_at", "last_run_at", "last_error", "refused_count", "missed_count", "created_by", "created_at",
    "changed_by", "changed_at", "change_reason",
)  # fmt: skip
STANDING = ("state", "attempts", "finished_at", "next_retry_at", "bypass", "passed_over", "item_states")
"""What the ETag of a step stands for: what an operator's decision may rest on, and not how far a running step has come."""


def respond(value: Mapping[str, Any], status: int = 200, *, etag: str | None = None, location: str | None = None) -> Response:
    """The value as JSON."""
    response = Response(json_text.dump(value), status, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    if etag is not None:
        response.set_etag(etag)
    if location is not None:
        response.headers["Location"] = location
    return response


def task(row: TaskRow) -> dict[str, Any]:
    """One line of a list of tasks."""
    return _picked(row, TASK)


def task_detail(detail: TaskDetail, results: Mapping[str, Any]) -> dict[str, Any]:
    """A task with its steps by name, and their results."""
    steps = {row.name: step(row) | {"result": results.get(row.name)} for row in detail.steps}
    return task(detail.task) | _picked(detail, DETAIL) | {"steps": steps}


def step(row: StepRow) -> dict[str, Any]:
    """A step without its result."""
    return _picked(row, STEP) | {"error": error(row.error), "progress": _progress(row.progress)}


def step_detail(detail: StepDetail) -> dict[str, Any]:
    """A step with its result, its parents' results and its attempts."""
    told = {"result": detail.result, "parent_results": detail.parent_results, "item": detail.item}
    executions = [_attempt(one) for one in detail.attempts]
    return step(detail.row) | {"task_id": detail.task.task_id, **told, "executions": executions, "template": template(detail.template)}


def line(row: LineRow) -> dict[str, Any]:
    """One line of a log."""
    return _picked(row, ("line_no", "step_name", "attempt", "at", "level", "message", "fields"))


def preview(found: Preview) -> dict[str, Any]:
    """What an action would do."""
    steps = [_picked(row, ("name", "from_state", "to_state", "effect")) for row in found.steps]
    whole = _picked(found.task, ("from_state", "to_state", "effect"))
    return {"dry_run": True, "action": found.action, "step_name": found.step_name, "task": whole, "steps": steps, "seen": found.seen}


def workflow(row: WorkflowRow) -> dict[str, Any]:
    """A workflow with its versions, the newest first."""
    names = ("namespace", "name", "description", "versions", "task_count", "open_task_count", "failed_task_count", "last_task_at")
    return _picked(row, names)


def definition(row: DefinitionRow) -> dict[str, Any]:
    """A version of a workflow: its schema, and its graph as steps that name the steps before and behind them."""
    names = [one.name for one in row.steps]
    steps = [template(one) | {"parents": [names[no] for no in one.parents], "children": [names[no] for no in one.children]} for one in row.steps]
    return _picked(row, ("namespace", "name", "version", "description", "schema", "created_at")) | {"steps": steps}


def template(row: TemplateRow) -> dict[str, Any]:
    """A step as its definition describes it."""
    return _picked(row, TEMPLATE)


def schedule(row: ScheduleRow) -> dict[str, Any]:
    """A schedule with its latest tasks."""
    timing = {"kind": row.timing.kind, "expression": row.timing.expression, "time_zone": row.timing.time_zone, "words": row.timing.words()}
    recent = [_picked(one, ("task_id", "state", "created_at")) for one in row.recent]
    return _picked(row, SCHEDULE) | {"timing": timing, "recent": recent}


def engine(row: EngineRow) -> dict[str, Any]:
    """An engine that was seen of late."""
    return _picked(row, ("name", "runner", "concurrency", "started_at", "seen_at", "alive", "draining", "definitions", "labels"))


def error(stored: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Why a step failed, without the traceback."""
    return {key: stored.get(key) for key in ("type", "message", "code")} if stored else None


def task_tag(detail: TaskDetail) -> str:
    """The ETag of a task: another one as soon as a state, an attempt or the context changes."""
    standings = [[row.name, _picked(row, STANDING)] for row in detail.steps]
    return _tag([detail.task.state, detail.task.paused, plain(detail.cancel_requested_at), detail.context, standings])


def step_tag(detail: StepDetail) -> str:
    """The ETag of a step: another one as soon as its state, its attempts or its task's state changes."""
    return _tag([detail.task.state, detail.task.paused, detail.row.name, _picked(detail.row, STANDING)])


_AS_JSON_HAS_THEM = frozenset((str, int, float, bool, dict, list, type(None)))


def plain(value: Any) -> Any:
    """The value as JSON has it; times are ISO 8601 in UTC with a Z."""
    if type(value) in _AS_JSON_HAS_THEM:  # nearly all, and there are hundreds in an answer
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    return list(value) if isinstance(value, (tuple, set, frozenset)) else value


def _picked(row: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: plain(getattr(row, name)) for name in names}


def _progress(row: ProgressRow | None) -> dict[str, Any] | None:
    return None if row is None else _picked(row, ("done", "total", "note", "at"))


def _attempt(row: AttemptRow) -> dict[str, Any]:
    return _picked(row, ATTEMPT) | {"error": error(row.error)}


def _tag(content: Any) -> str:
    return hashlib.sha256(json_text.canonical(content).encode()).hexdigest()[:32]
