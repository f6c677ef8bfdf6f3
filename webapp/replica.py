"""Reads of pages and of the API that go to a replica of the database, where TASKER_READ_DATABASE_URL names one.

The views of READS read there while it follows closely. Everything else stays on the primary: who asks and whether they may, what acts, previews, the audit.
Who has done something reads the primary until the replica has that too. A view that fails on the replica, or finds nothing there, is made again from the primary.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import psycopg
from flask import Flask, Response, current_app, g, request, session
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import NotFound as NothingThere

from engine import replicas
from engine.db import Database, Note, OutageLog, described, end_calls_within
from engine.errors import DatabaseUnavailable, NotFound, TaskerError
from engine.replicas import Standing
from webapp.access import takes_tokens
from webapp.database import CALL_SECONDS, POOL_SIZE, call_times, primary
from webapp.models import db as read_side

LOOK_SECONDS = 1.0
FORGOTTEN_SECONDS = 10.0
"""Nobody has asked for so long: then nobody looks, and what was seen is old."""
KEPT_SECONDS = 60.0
"""A replica that is read is never as far behind as this."""
KEPT_CALLERS = 10_000

_SHOWING = {
    "overview": "index",
    "workflows": "index namespace show diff version",
    "tasks": "index show report incident context timeline",
    "replay": "show",
    "comparing": "choose show",
    "steps": "index show result log",
    "waiting": "index",
    "schedules": "index",
    "failures": "index show",
    "batches": "index show",
    "launch_sheets": "progress",
    "palette": "index",
    "search": "index",
    "analytics": "index bottlenecks",
    "api_tasks": "index show steps step log step_log",
    "api_workflows": "namespaces index of_namespace latest show",
    "api_schedules": "index show",
    "api_search": "index",
    "api_analytics": "performance bottlenecks",
}
READS = frozenset(f"{group}.{name}" for group, names in _SHOWING.items() for name in names.split())
"""The endpoints that only show."""

ELSEWHERE = (DatabaseUnavailable, NotFound, NothingThere, DBAPIError, PoolTimeout, psycopg.Error)
LOST = (DatabaseUnavailable, DBAPIError, PoolTimeout)
UNKNOWN = Standing("unknown", "nobody has looked at the replica yet")

log = logging.getLogger(__name__)


class Replica:
    """The way to the replica, and a thread that looks how it stands for as long as somebody wants to read."""

    def __init__(self, url: str, primary: Database, *, most_seconds: float = replicas.LAG_SECONDS, note: Note | None = None) -> None:
        self.db = Database(url, max_size=POOL_SIZE, application_name="tasker dashboard", call_seconds=CALL_SECONDS, options=replicas.READ_ONLY, note=note)
        self.failure_count = 0
        self._primary, self._most_seconds = primary, most_seconds
        self._standing, self._looked_at = UNKNOWN, float("-inf")
        self._asked_at = time.monotonic()
        self._wanted, self._closed = threading.Event(), threading.Event()
        self._outage = OutageLog(log, "the dashboard reads from the primary")
        threading.Thread(target=self._run, name="tasker-replica", daemon=True).start()

    def standing(self) -> Standing:
        """How it stood when it was last looked at, a moment ago."""
        self._asked_at = time.monotonic()
        self._wanted.set()
        return self._standing if time.monotonic() - self._looked_at < FORGOTTEN_SECONDS else UNKNOWN

    def failed(self, error: Exception) -> None:
        """A read has failed there: nothing more is read until the next look."""
        self.failure_count += 1
        self._standing = Standing("unreachable", f"the replica at {described(self.db.url)} does not answer")
        self._outage.met(error)

    def look(self) -> Standing:
        """Look how it stands now."""
        try:
            seen = replicas.standing(self._primary, self.db, most_seconds=self._most_seconds)
        except (TaskerError, psycopg.Error):
            seen = UNKNOWN  # of a primary that does not answer pages tell themselves
        self._standing, self._looked_at = seen, time.monotonic()
        if seen.is_usable:
            self._outage.over()
        elif seen != UNKNOWN:
            self._outage.met(DatabaseUnavailable(seen.said))
        return seen

    def close(self) -> None:
        """Nobody looks any more."""
        self._closed.set()
        self._wanted.set()
        self.db.close()

    def _run(self) -> None:
        while self._wanted.wait() and not self._closed.is_set():
            self.look()
            if time.monotonic() - self._asked_at > FORGOTTEN_SECONDS:
                self._wanted.clear()
            self._closed.wait(LOOK_SECONDS)


_opening = threading.Lock()


def init_app(app: Flask) -> None:
    """The views that only show read from the replica, if one is configured. Called when every view is known."""
    app.extensions["tasker_replica"] = None
    app.extensions["tasker_written"] = {}
    if not app.config["READ_DATABASE_URL"]:
        return
    app.after_request(_remember_write)
    for endpoint in READS:
        app.view_functions[endpoint] = _read_there(app.view_functions[endpoint])


def replica_of(app: Flask) -> Replica | None:
    """The replica of this application, if one is configured; opened by the first caller. Raises `DatabaseUnavailable` without a primary."""
    url = app.config["READ_DATABASE_URL"]
    if not url:
        return None
    opened = primary()
    with _opening:
        if app.extensions["tasker_replica"] is None:
            app.extensions["tasker_replica"] = Replica(url, opened, most_seconds=app.config["REPLICA_LAG_SECONDS"], note=call_times(app).note)
        found: Replica = app.extensions["tasker_replica"]
    return found


def replica() -> Replica | None:
    """The same for the application that answers now."""
    return replica_of(current_app._get_current_object())  # type: ignore[attr-defined]


def replica_standing() -> Standing | None:
    """How the replica stands, if one is configured."""
    found = replica()
    return found.standing() if found else None


def close(app: Flask) -> None:
    """Close the way to the replica; the server does so when it stops."""
    opened, app.extensions["tasker_replica"] = app.extensions["tasker_replica"], None
    if opened is not None:
        opened.close()


def _read_there(view: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(view)
    def read(**address: Any) -> Any:
        found = replica() if request.method in ("GET", "HEAD") else None
        if found is None or not _may_read(found.standing()):
            return view(**address)
        g.reads_from = found.db
        try:
            return view(**address)
        except ELSEWHERE as error:
            if isinstance(error, LOST):
                found.failed(error)
                end_calls_within(CALL_SECONDS)  # the primary is asked anew
            _leave()
        return view(**address)

    return read


def _leave() -> None:
    g.reads_from = None
    read_side.session.remove()


def _may_read(standing: Standing) -> bool:
    return standing.is_usable and standing.position >= _written()


def _written() -> int:
    """Up to where the caller's own acts were written, as far as anybody remembers."""
    known: dict[int, tuple[int, float]] = current_app.extensions["tasker_written"]
    at, when = known.get(_caller(), (0, 0.0))
    here = at if time.monotonic() - when < KEPT_SECONDS else 0
    at, when = (0, 0.0) if takes_tokens() else session.get("written", (0, 0.0))
    return max(here, at if time.time() - when < KEPT_SECONDS else 0)


def _caller() -> int:
    caller = g.get("caller")
    return caller.account_id if caller else 0


def _remember_write(response: Response) -> Response:
    """By account in this process, and in the browser for when another process answers next."""
    if request.method in ("GET", "HEAD", "OPTIONS") or not _caller():
        return response
    try:
        position = replicas.written_position(primary())
    except (TaskerError, psycopg.Error):
        return response
    known: dict[int, tuple[int, float]] = current_app.extensions["tasker_written"]
    if len(known) > KEPT_CALLERS:
        known.clear()
    known[_caller()] = position, time.monotonic()
    if not takes_tokens():
        session["written"] = position, time.time()
    return response
