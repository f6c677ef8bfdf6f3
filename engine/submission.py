"""Asking for tasks from anywhere in Python: in the default database, or in the caller's own transaction; in a handler, as its children."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from engine import trace_ids
from engine.errors import NotFound, Problem, RequestError
from engine.handlers import ATTEMPT
from engine.registry import HandlerRegistry
from engine.requests import TaskRequest, checked_context

if TYPE_CHECKING:
    from engine.borrowed import Transaction
    from engine.db import Database
    from engine.definition import TaskDefinition
    from engine.handlers import Task
    from engine.shards import Shards

_databases: dict[tuple[int, str], Database] = {}
_opening = threading.Lock()


def submit(request: TaskRequest, *, detached: bool = False, connection: Transaction | None = None) -> str:
    """Create the task in the default database; returns its id, or the first task's for a repeated idempotency key.

    In a handler it is a child of the handler's task and step, and carries the correlation id on: the task's, else the task's own id.
    Where TASKER_SHARDS names several databases it is made in that of its namespace, and is nobody's child if its task lives in another.
    With `detached` it is nobody's child and carries on nothing that the request does not say.
    A handler may run twice, so it should give an idempotency key, such as `f"{task.task_id}:refund"`.
    With `connection`, of psycopg or SQLAlchemy to a database that Tasker lives in, the task is part of the transaction there: it exists once that
    commits, or never. Raises RequestError with every problem, NotFound for an unknown workflow, KeyReused, DatabaseUnavailable, NoTransaction.
    """
    return submit_many([request], detached=detached, connection=connection)[0]


def submit_many(requests: Iterable[TaskRequest], *, detached: bool = False, connection: Transaction | None = None) -> list[str]:
    """Create all tasks in one transaction, or none; returns their ids in order. In a handler, or with `connection`, as `submit`.

    Raises RequestError when their namespaces live in different databases.
    """
    from engine import tasks

    wanted = list(requests) if detached else [_as_child(request) for request in requests]
    database = _database_of(wanted) if connection is None else _borrowed(connection)
    try:
        return tasks.submit_many(database, wanted)
    except NotFound:
        if not _introduce(database, wanted):
            raise
    return tasks.submit_many(database, wanted)


def _borrowed(connection: Transaction) -> Database:
    from engine.borrowed import Borrowed

    return Borrowed(connection)


def publish_event(name: str, data: Any = None, *, task: Task | str, step_name: str | None = None) -> int:
    """Tell subscribers of something in a task, such as `publish_event("order.priced", {"total": 12}, task=task)` in a handler.

    It holds at once, so a step that runs again publishes again. Returns the event's id; raises RequestError, NotFound, DatabaseUnavailable.
    """
    from engine import events

    return events.publish_event(default_database(), name, data, task=task, step_name=step_name)


def default_database() -> Database:
    """The database that TASKER_DATABASE_URL names, else the embedded one if it runs; opened on first use.

    Raises DatabaseUnavailable when there is neither.
    """
    return _opened(_default_url())


@contextmanager
def standing_in(database: Database) -> Iterator[None]:
    """For the length of the block, in this process, whoever opens the database of that URL gets this one."""
    key = (os.getpid(), database.url)
    before = _databases.get(key)
    _databases[key] = database
    try:
        yield
    finally:
        if before is None:
            del _databases[key]
        else:
            _databases[key] = before


def _opened(url: str) -> Database:
    from engine.db import Database

    # By process: a connection that a fork inherited belongs to the parent.
    key = (os.getpid(), url)
    with _opening:
        if key not in _databases:
            _databases[key] = Database(url)
        return _databases[key]


def _database_of(requests: list[TaskRequest]) -> Database:
    """The one database in which all of them are to be made: by their namespaces, where TASKER_SHARDS says so."""
    shards = _shards()
    if shards is None or not requests:
        return default_database()
    found = {shards.of(request.namespace) for request in requests}
    if len(found) > 1:
        names = ", ".join(sorted({request.namespace for request in requests}))
        raise RequestError([Problem("namespace", "two_databases", f"the namespaces {names} live in different databases, and one transaction cannot be in both: submit them apart")])
    return _opened(found.pop().url)


def _shards() -> Shards | None:
    from engine.settings import Settings

    return Settings.from_environ().shards


def _default_url() -> str:
    from engine.settings import Settings

    settings = Settings.from_environ()
    if settings.database_url:
        return settings.database_url
    from engine import embedded
    from engine.errors import DatabaseUnavailable

    if not embedded.status(settings.data_dir).running:
        raise DatabaseUnavailable("no database: set TASKER_DATABASE_URL, or start `tasker up`")
    return embedded.ensure_server(settings.data_dir).url


def _as_child(request: TaskRequest) -> TaskRequest:
    attempt = ATTEMPT.get()
    if attempt is None or request.parent_task_id is not None:
        return request
    task, step = attempt
    correlation_id = request.correlation_id or task.correlation_id or task.task_id
    traceparent = request.traceparent or (trace_ids.of_attempt(task, step) if trace_ids.IS_ON else None)
    carried = replace(request, correlation_id=correlation_id, traceparent=traceparent)
    if _lives_elsewhere(task, request):
        return carried  # a parent in another database could not be found from there
    return replace(carried, parent_task_id=task.task_id, parent_step=step.name)


def _lives_elsewhere(task: Task, request: TaskRequest) -> bool:
    shards = _shards()
    return shards is not None and shards.of(task._definition.namespace) != shards.of(request.namespace)


def _introduce(database: Database, requests: list[TaskRequest]) -> bool:
    """Make workflows that only this process knows known to the database, once every request fits its own; whether there were any. Raises what is wrong with one."""
    from engine import tasks

    found = {}
    for request in requests:
        definition = _own_definition(request)
        if definition is not None:
            checked_context(request, definition.schema)
            tasks.require_steps(request, definition)
            found[definition.key] = definition
        elif problems := tasks.request_problems(database, request):
            raise RequestError(problems)
    for definition in found.values():
        tasks.register_definition(database, definition)
    return bool(found)


def _own_definition(request: TaskRequest) -> TaskDefinition | None:
    try:
        return HandlerRegistry.instance().get(request.name, request.namespace, request.version).definition
    except NotFound:
        return None
