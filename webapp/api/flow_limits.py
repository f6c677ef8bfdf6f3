"""`/limits`: how much of a workflow may go on at once or begin within a period."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask import Response

from engine import limits
from engine.errors import ChangedSince
from engine.gates import Limit
from engine.rows import LimitRow
from webapp.access import may
from webapp.api import access, shapes
from webapp.api.blueprint import Endpoints
from webapp.api.bodies import NamespaceQuery
from webapp.api.flow_limit_shapes import (
    ChangeQuery,
    ChangeSchema,
    LimitDetailSchema,
    LimitSchema,
    LimitsSchema,
    ResetSchema,
    StepQuery,
    told,
)
from webapp.database import database
from webapp.limits import apply

READ = "tasker.workflow:index"

endpoints = Endpoints("limits", "How much of a workflow may go on at once, or begin within a period")


@endpoints.route("/limits")
@endpoints.arguments(NamespaceQuery, location="query")
@endpoints.response(200, LimitsSchema)
@endpoints.may_answer(422)
def index(asked: dict[str, Any]) -> Response:
    """List the limits, of all namespaces or of one"""
    found = limits.limits(database(), namespace=asked["namespace"], namespaces=access.allowed_namespaces(READ))
    return shapes.respond({"limits": [told(row) for row in found]})


@endpoints.route("/limits/<namespace>/<name>")
@endpoints.arguments(StepQuery, location="query")
@endpoints.response(200, LimitDetailSchema)
@endpoints.may_answer(404, 422)
def show(asked: dict[str, Any], namespace: str, name: str) -> Response:
    """Show a limit with what holds its places and what waits"""
    return _shown(limits.limit_of(database(), namespace, name, asked["step"]))


@endpoints.route("/limits/<namespace>/<name>/change", methods=["POST"])
@endpoints.arguments(ChangeQuery, location="query")
@endpoints.arguments(ChangeSchema)
@endpoints.response(200, LimitSchema)
@endpoints.may_answer(400, 404, 412, 413, 415, 422)
def change(asked: dict[str, Any], given: dict[str, Any], namespace: str, name: str) -> Response:
    """Change a limit until it is reset; a number that is left out stays"""
    row = limits.limit_of(database(), namespace, name, asked["step"])
    limit = replace(row.limit, **{key: given[key] for key in ("at_once", "per_period") if key in given})
    return _applied(row, limit, asked, given, is_reset=False)


@endpoints.route("/limits/<namespace>/<name>/reset", methods=["POST"])
@endpoints.arguments(ChangeQuery, location="query")
@endpoints.arguments(ResetSchema, required=False)
@endpoints.response(200, LimitSchema)
@endpoints.may_answer(400, 404, 412, 413, 415, 422)
def reset(asked: dict[str, Any], given: dict[str, Any], namespace: str, name: str) -> Response:
    """Make a limit as its definition declares it"""
    row = limits.limit_of(database(), namespace, name, asked["step"])
    return _applied(row, row.declared, asked, given, is_reset=True)


def _applied(row: LimitRow, limit: Limit, asked: dict[str, Any], given: dict[str, Any], *, is_reset: bool) -> Response:
    if given.get("seen") not in (None, row.seen):
        raise ChangedSince("the limit was changed since you looked, and nothing was done; look again")
    if not asked["dry_run"]:
        # a number that stays must be the one that was read
        apply(row, limit, seen=given.get("seen", row.seen), is_reset=is_reset, reason=given.get("reason"))
        return shapes.respond(told(limits.limit_of(database(), row.namespace, row.name, row.step_name)))
    would = told(replace(row, limit=limit))
    return shapes.respond(would | {"seen": row.seen, "dry_run": True, "foreseen": limits.foreseen(row, limit)})


def _shown(row: LimitRow) -> Response:
    holds = ("key", "task_id", "step_name", "state", "since")
    sees = may("tasker.task:index", row.namespace)
    lists = {"holders": limits.holders(database(), row), "waiters": limits.waiters(database(), row)} if sees else {"holders": [], "waiters": []}
    return shapes.respond(told(row) | {key: [{name: shapes.plain(getattr(each, name)) for name in holds} for each in found] for key, found in lists.items()})
