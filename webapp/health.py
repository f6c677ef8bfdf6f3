"""`/health`: whether this process lives, whether it can serve, and how the installation stands. For machines; needs no sign-in."""

from __future__ import annotations

import time
from typing import Any

from flask import Blueprint, Response, abort, current_app, jsonify

from engine import queries
from engine.errors import TaskerError
from webapp.database import database
from webapp.live import feed_of
from webapp.problems import RETRY_AFTER_SECONDS
from webapp.security import from_this_machine

blueprint = Blueprint("health", __name__, url_prefix="/health")


@blueprint.get("/live")
def live() -> Response:
    """200 while the process answers; looks at nothing else, so that a database outage restarts nobody."""
    return _answer({"status": "ok"})


@blueprint.get("/ready")
def ready() -> Response:
    """200 when pages can be served, 503 when the database does not answer or has no tables yet."""
    try:
        queries.namespaces(database())
    except Exception as error:
        return _unready(error)
    return _answer({"status": "ok"})


@blueprint.get("/status")
def status() -> Response:
    """Engines, queues and tasks in numbers; only for callers on this machine."""
    if not from_this_machine():
        abort(403)
    try:
        return _answer(_measured())
    except TaskerError as error:
        return _unready(error)


def _measured() -> dict[str, Any]:
    began = time.perf_counter()
    overview = queries.overview(database())
    return {
        "status": "ok" if overview.engines_alive else "no engine",
        "database": {"query_seconds": round(time.perf_counter() - began, 4)},
        "engines": {"alive": overview.engines_alive},
        "steps": {"ready": overview.ready_count, "running": overview.running_count, "delayed": overview.delayed_count},
        "oldest_ready_at": overview.oldest_ready_at.isoformat() if overview.oldest_ready_at else None,
        "tasks": overview.task_counts,
        "live_streams": feed_of(current_app._get_current_object()).count(),  # type: ignore[attr-defined]
    }


def _unready(error: Exception) -> Response:
    # The words of the driver may hold the address of the database; only ours are meant to be read.
    reason = str(error) if isinstance(error, TaskerError) and from_this_machine() else "the database does not answer"
    response = _answer({"status": "unavailable", "reason": reason})
    response.status_code = 503
    response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _answer(body: dict[str, Any]) -> Response:
    response = jsonify(body)
    response.headers["Cache-Control"] = "no-store"
    return response
