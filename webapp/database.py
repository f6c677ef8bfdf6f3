"""The one door to the engine's database for a request; every page and action asks here. Opened on first use.

A view that only shows may be given a replica to read from, by `webapp.replica`; `primary` is for who must not be.
"""

from __future__ import annotations

import logging
from threading import Lock

from flask import Flask, Response, current_app, g, request

from engine.db import Database, end_calls_within
from engine.errors import DatabaseUnavailable, DefinitionConflict
from engine.monitoring.own_figures import CallTimes
from engine.tasks import register_definition

POOL_SIZE = 12
CALL_SECONDS = 5.0
"""A page says that the database does not answer rather than let its reader wait any longer, for one call or for all that it makes."""

log = logging.getLogger(__name__)

_opening = Lock()


def init_app(app: Flask) -> None:
    """Give the application its place for the connection pool, still empty, and each of its pages its time; whatever it asks of databases is timed."""
    app.extensions["tasker_database"] = None
    app.extensions["tasker_calls"] = CallTimes()
    app.extensions.setdefault("tasker_registry", None)
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_request(lambda _: end_calls_within(None))


def _begin() -> None:
    # what changes something is not given up for what was asked before it
    end_calls_within(CALL_SECONDS if request.method in ("GET", "HEAD") else None)


def _end(response: Response) -> Response:
    end_calls_within(None)  # what is sent bit by bit takes its time
    return response


def database() -> Database:
    """Where this request reads and writes: the primary, or for a view that only shows a replica of it. Raises `DatabaseUnavailable`."""
    return g.get("reads_from") or primary()


def reads_replica() -> bool:
    """Whether this request reads from a replica."""
    return bool(g.get("reads_from"))


def primary() -> Database:
    """The pool of this application, opened by the first caller. Raises `DatabaseUnavailable`."""
    return primary_of(current_app._get_current_object())  # type: ignore[attr-defined]


def primary_of(app: Flask) -> Database:
    """The same of any application."""
    with _opening:
        if app.extensions["tasker_database"] is None:
            app.extensions["tasker_database"] = _opened(app)
        opened: Database = app.extensions["tasker_database"]
    return opened


def _opened(app: Flask) -> Database:
    pool = Database(database_url(app), max_size=POOL_SIZE, application_name="tasker dashboard", call_seconds=CALL_SECONDS, note=call_times(app).note)
    registry = app.extensions["tasker_registry"]
    if registry:
        end_calls_within(None)  # hundreds of definitions take their time, once
    for definition in registry.definitions() if registry else ():
        try:
            register_definition(pool, definition)
        except DefinitionConflict as error:
            log.warning("%s", error)
    return pool


def database_url(app: Flask) -> str:
    """Where the database is. Raises `DatabaseUnavailable` when nobody said so."""
    url: str | None = app.config["DATABASE_URL"]
    if not url:
        raise DatabaseUnavailable("no database is configured: set TASKER_DATABASE_URL")
    return url


def call_times(app: Flask) -> CallTimes:
    """How long this application's calls of its databases took."""
    found: CallTimes = app.extensions["tasker_calls"]
    return found


def close(app: Flask) -> None:
    """Close the pool; the server does so when it stops."""
    opened: Database | None = app.extensions["tasker_database"]
    if opened is not None:
        app.extensions["tasker_database"] = None
        opened.close()
