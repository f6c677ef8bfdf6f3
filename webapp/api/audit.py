"""`/audit`: who did what, when, from where, to which object and why; page by page, and as CSV."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Response

from engine.access import audit
from engine.errors import Problem, RequestError
from webapp.api import access, shapes
from webapp.api.account_shapes import AuditPageSchema, AuditQuery, entry
from webapp.api.blueprint import Endpoints
from webapp.auditing import file_answer, read_time
from webapp.database import database

READ = "tasker.audit:index"

endpoints = Endpoints("audit", "Who did what")


@endpoints.route("/audit")
@endpoints.arguments(AuditQuery, location="query")
@endpoints.response(200, AuditPageSchema)
@endpoints.may_answer(422)
def index(asked: dict[str, Any]) -> Response:
    """List what was done, newest first"""
    limit, cursor = asked.pop("limit"), asked.pop("cursor")
    found = audit.entries(database(), **_chosen(asked), before=cursor, limit=limit + 1)
    more = str(found[limit - 1].audit_no) if len(found) > limit else None
    return shapes.respond({"entries": [entry(row) for row in found[:limit]], "next_cursor": more})


@endpoints.route("/audit.csv")
@endpoints.arguments(AuditQuery, location="query")
@endpoints.response(200, {"type": "string"}, content_type="text/csv")
@endpoints.may_answer(422)
def download(asked: dict[str, Any]) -> Response:
    """Download what was done as CSV, newest first"""
    return file_answer(_chosen({name: value for name, value in asked.items() if name not in ("limit", "cursor")}), "csv")


def _chosen(asked: dict[str, Any]) -> dict[str, Any]:
    times: dict[str, Any] = {name: _time(name, asked.pop(name)) for name in ("at_from", "at_to") if name in asked}
    return {**asked, **times, "namespaces": access.allowed_namespaces(READ)}


def _time(name: str, text: str) -> datetime:
    try:
        return read_time(text)
    except ValueError:
        raise RequestError([Problem(name, "bad_time", "reads like 2026-01-31T08:30:00Z")]) from None
