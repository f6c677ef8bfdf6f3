"""`/health`: whether this process lives, whether it can serve, and how the installation stands. For machines; needs no sign-in."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Flask, Response, current_app, jsonify

from engine.db import Database
from engine.errors import TaskerError
from engine.monitoring import health
from webapp.access import NotAllowed, allowed_namespaces
from webapp.database import call_times, database_url
from webapp.glance import Glance
from webapp.live import Feed, feed_if_any
from webapp.problems import RETRY_AFTER_SECONDS
from webapp.replica import replica_standing
from webapp.request_log import note_outage
from webapp.security import from_this_machine

SECONDS = 1.0
DEAF_SECONDS = 10.0
"""A listener that works looks every two seconds."""

blueprint = Blueprint("health", __name__, url_prefix="/health")


def init_app(app: Flask) -> None:
    """Give the application its places for the probe's connection and for answers, which all that ask within a second share."""
    app.config.setdefault("HEALTH_SECONDS", SECONDS)
    app.extensions["tasker_probe"] = None
    app.extensions["tasker_health"] = {"ready": Glance[Any](), "status": Glance[Any]()}


def close(app: Flask) -> None:
    """Close the probe's connection; the server does so when it stops."""
    probe, app.extensions["tasker_probe"] = app.extensions["tasker_probe"], None
    if probe is not None:
        probe.close()


@blueprint.get("/live")
def live() -> Response:
    """200 while the process answers; looks at nothing else, so that a database outage restarts nobody."""
    return _answer({"status": "ok"})


@blueprint.get("/ready")
def ready() -> Response:
    """200 when pages can be served, 503 when the database does not answer or has not the schema. That no engine or listener is heard of is told with 200."""
    try:
        seconds, found = _shared("ready", lambda: _timed(lambda: health.readiness(_probe())))
    except Exception as error:
        return _unready(error)
    return _ready(seconds, found)


def _ready(seconds: float, found: health.Readiness) -> Response:
    listener = _listener()
    engine = {"status": "ok" if found.hears_engine else "silent", "heartbeat_seconds": _rounded(found.heartbeat_seconds)}
    checks: dict[str, dict[str, Any]] = {"database": {"status": "ok", "seconds": round(seconds, 4)}, "schema": {"status": found.schema}, "engine": engine, "listener": listener, **_replica()}
    if not found.is_ready:
        words = "the database has not the schema this version needs; run `tasker db upgrade`"
        return _with_status(503, {"status": "unavailable", "reason": words, "checks": checks})
    well = found.schema == "ok" and found.hears_engine and listener["status"] != "deaf" and _is_read(checks.get("replica"))
    return _answer({"status": "ok" if well else "degraded", "checks": checks})


@blueprint.get("/status")
def status() -> Response:
    """Engines, queues and tasks in numbers; for callers on this machine, and for tokens that may see metrics of every namespace."""
    if not from_this_machine() and allowed_namespaces("tasker.metrics:index") is not None:
        raise NotAllowed
    try:
        return _answer(_measured(*_shared("status", lambda: _timed(lambda: health.counts(_probe())))))
    except TaskerError as error:
        return _unready(error)


def _measured(seconds: float, found: health.Counts) -> dict[str, Any]:
    feed = feed_if_any(_app())
    return {
        "status": "ok" if found.engine_count else "no engine",
        "database": {"query_seconds": round(seconds, 4)},
        "engines": {"alive": found.engine_count},
        "steps": {"ready": found.ready, "running": found.running, "delayed": found.delayed},
        "oldest_ready_at": found.oldest_ready_at.isoformat() if found.oldest_ready_at else None,
        "tasks": found.tasks,
        "live_streams": feed.count() if feed else 0,
    }


def _listener() -> dict[str, Any]:
    """How the hearing of live pages stands: idle while no page wants it."""
    feed: Feed | None = feed_if_any(_app())
    age = feed.silent_seconds() if feed else None
    return {"status": "idle" if age is None else "ok" if age <= DEAF_SECONDS else "deaf", "age_seconds": _rounded(age)}


def _is_read(replica: Mapping[str, Any] | None) -> bool:
    """Whether pages are read where they are meant to be; before the first look nobody knows otherwise."""
    return replica is None or replica["status"] in ("ok", "unknown")


def _replica() -> dict[str, dict[str, Any]]:
    """How the replica stands that pages are read from, where one is configured."""
    standing = replica_standing()
    return {"replica": {"status": standing.state, "lag_seconds": _rounded(standing.lag_seconds)}} if standing else {}


def _shared(question: str, find: Any) -> Any:
    glance: Glance[Any] = _app().extensions["tasker_health"][question]
    return glance.answer(find, None, current_app.config["HEALTH_SECONDS"])


def _timed(find: Any) -> tuple[float, Any]:
    began = time.perf_counter()
    found = find()
    return time.perf_counter() - began, found


def _probe() -> Database:
    extensions = _app().extensions
    if extensions["tasker_probe"] is None:
        extensions["tasker_probe"] = health.open_probe(database_url(_app()), call_times(_app()).note)
    probe: Database = extensions["tasker_probe"]
    return probe


def _app() -> Flask:
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    return app


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _unready(error: Exception) -> Response:
    # The words of the driver may hold the address of the database; only ours are meant to be read.
    reason = str(error) if isinstance(error, TaskerError) and from_this_machine() else "the database does not answer"
    note_outage(error)
    return _with_status(503, {"status": "unavailable", "reason": reason, "checks": {"database": {"status": "unavailable"}, "listener": _listener()}})


def _with_status(status: int, body: dict[str, Any]) -> Response:
    response = _answer(body)
    response.status_code = status
    response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _answer(body: dict[str, Any]) -> Response:
    response = jsonify(body)
    response.headers["Cache-Control"] = "no-store"
    return response
