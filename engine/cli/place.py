"""Where a command acts: on the database of this machine, or with `--server` on a remote installation by its API. Both have the same methods."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, Union

import click

from engine import actions, queries, report, steps, tasks
from engine.cli.setting import actor, note, open_database, open_shards
from engine.db import Database
from engine.errors import DatabaseUnavailable, NotFound, TaskerError, WrongState
from engine.finding.spread import merged, read_cursors
from engine.requests import TaskRequest
from engine.rows import EngineRow, LinePage, Preview, TaskDetail, TaskPage, TaskRow
from engine.settings import Settings
from engine.shards import Shards

if TYPE_CHECKING:
    from engine.client import Client

T = TypeVar("T")

STEP_COMMANDS: Mapping[str, Callable[..., str]] = {
    "retry": steps.retry_step,
    "retry_downstream": steps.retry_downstream,
    "cancel": steps.cancel_step,
    "skip": steps.skip_step,
    "resolve": steps.resolve_step,
}


RIGHTS = {"retry": "retry", "retry_downstream": "retry", "cancel": "cancel"}
"""What an action is called in the audit, by the right that it takes on the dashboard; `update` where it is not named here."""


class Local:
    """The database of this machine."""

    def __init__(self, db: Database) -> None:
        self.db = db

    def submit(self, request: TaskRequest) -> str:
        """As `engine.tasks.submit`."""
        [(task_id, is_new)] = tasks.create_tasks(self.db, [request])
        if is_new:
            note(self.db, "tasker.task:create", f"task {task_id}", namespace=request.namespace, reason=request.reason, act="launch")
        return task_id

    def tasks(self, **asked: Any) -> TaskPage:
        """As `engine.queries.tasks`."""
        return queries.tasks(self.db, **asked)

    def task(self, task_id: str, *, items: int) -> TaskDetail:
        """As `engine.queries.task`."""
        return queries.task(self.db, task_id, items=items)

    def task_row(self, task_id: str) -> TaskRow:
        """As `engine.queries.task_row`."""
        return queries.task_row(self.db, task_id)

    def outcome(self, task_id: str) -> dict[str, Any]:
        """As `engine.queries.outcome`."""
        return queries.outcome(self.db, task_id)

    def lines(self, task_id: str, step_name: str | None, *, level: str | None, after: int, limit: int) -> LinePage:
        """As `engine.queries.lines`."""
        return queries.lines(self.db, task_id, step_name, level=level, after=after, limit=limit)

    def engines(self) -> list[EngineRow]:
        """As `engine.queries.engines`."""
        return queries.engines(self.db)

    def act(self, action: str, task_id: str, step_name: str | None = None, *, reason: str | None = None, seen: str | None = None, **given: Any) -> str:
        """Do an operator's action in the name of the user who runs the command."""
        try:
            state = self._act(action, task_id, step_name, reason=reason, seen=seen, **given)
        except WrongState:
            self._note(action, task_id, step_name, reason, "refused")
            raise
        self._note(action, task_id, step_name, reason, "done")
        return state

    def _act(self, action: str, task_id: str, step_name: str | None, **given: Any) -> str:
        if step_name is None:
            return actions.act(self.db, action, task_id, actor=actor(), **given)
        return STEP_COMMANDS[action](self.db, task_id, step_name, actor=actor(), **given)

    def _note(self, action: str, task_id: str, step_name: str | None, reason: str | None, outcome: str) -> None:
        kind, subject = ("task", f"task {task_id}") if step_name is None else ("step", f"task {task_id} step {step_name}")
        right = RIGHTS.get(action, "update")
        note(self.db, f"tasker.{kind}:{right}", subject, namespace=queries.task_namespace(self.db, task_id), reason=reason, act=action, outcome=outcome)

    def preview(self, action: Any, task_id: str, step_name: str | None = None, **given: Any) -> Preview:
        """What the action would do."""
        if step_name is None:
            return tasks.preview(self.db, action, task_id)
        return steps.preview(self.db, action, task_id, step_name, **given)


class Spread:
    """Several databases of this machine's own: a new task goes where its namespace lives, a task is looked for in all, lists are of all."""

    def __init__(self, shards: Shards, opened: Mapping[str, Database]) -> None:
        self._shards, self._places = shards, {name: Local(db) for name, db in opened.items()}

    def submit(self, request: TaskRequest) -> str:
        """As `engine.tasks.submit`, in the database of its namespace."""
        return self.of_namespace(request.namespace).submit(request)

    def tasks(self, *, namespace: str | None = None, cursor: str | None = None, limit: int = 50, **asked: Any) -> TaskPage:
        """As `engine.queries.tasks`, of all databases together; one that does not answer is told and left out."""
        if namespace is not None:
            return self.of_namespace(namespace).tasks(namespace=namespace, cursor=cursor, limit=limit, **asked)
        cursors = read_cursors(cursor, self._places)
        found = dict(self._asked(lambda place, name: place.tasks(cursor=cursors[name], limit=limit, **asked), cursors))
        return merged({name: self._places[name].db for name in found}, found, cursors, limit)

    def task(self, task_id: str, *, items: int) -> TaskDetail:
        """As `engine.queries.task`."""
        return self.of_task(task_id).task(task_id, items=items)

    def task_row(self, task_id: str) -> TaskRow:
        """As `engine.queries.task_row`."""
        return self.of_task(task_id).task_row(task_id)

    def outcome(self, task_id: str) -> dict[str, Any]:
        """As `engine.queries.outcome`."""
        return self.of_task(task_id).outcome(task_id)

    def lines(self, task_id: str, step_name: str | None, **asked: Any) -> LinePage:
        """As `engine.queries.lines`."""
        return self.of_task(task_id).lines(task_id, step_name, **asked)

    def engines(self) -> list[EngineRow]:
        """As `engine.queries.engines`, of all databases that answer."""
        return [row for _, rows in self._asked(lambda place, _: place.engines(), self._places) for row in rows]

    def act(self, action: str, task_id: str, step_name: str | None = None, **given: Any) -> str:
        """Do an operator's action where the task lives."""
        return self.of_task(task_id).act(action, task_id, step_name, **given)

    def preview(self, action: Any, task_id: str, step_name: str | None = None, **given: Any) -> Preview:
        """What the action would do."""
        return self.of_task(task_id).preview(action, task_id, step_name, **given)

    def of_namespace(self, namespace: str) -> Local:
        """The database that the namespace lives in."""
        return self._places[self._shards.of(namespace).name]

    def of_task(self, task_id: str) -> Local:
        """The database that has the task. Raises `NotFound`, or `DatabaseUnavailable` when it may be in one that does not answer."""
        silent: list[DatabaseUnavailable] = []
        for place in self._places.values():
            try:
                if queries.task_namespace(place.db, task_id) is not None:
                    return place
            except DatabaseUnavailable as error:
                silent.append(error)
        if silent:
            raise DatabaseUnavailable(f"task {task_id} is in no database that answers; {silent[0]}")
        raise NotFound(queries.no_task(task_id))

    def _asked(self, ask: Callable[[Local, str], T], names: Iterable[str]) -> Iterator[tuple[str, T]]:
        for name in names:
            try:
                yield name, ask(self._places[name], name)
            except DatabaseUnavailable as error:
                click.echo(f"tasker: without {name}: {error}", err=True)


Place = Union[Local, Spread, "Client"]


def server() -> str | None:
    """The server that was named, by `--server` or TASKER_SERVER."""
    context = click.get_current_context(silent=True)
    named: str | None = context.find_root().params.get("server") if context else None
    return named


@contextmanager
def open_place() -> Iterator[Place]:
    """The place where this command acts."""
    named = server()
    if named:
        from engine.client import Client  # only who calls a server pays for its client library

        logging.getLogger("httpx").setLevel(logging.WARNING)  # each request is a line of it
        with Client(named, os.environ.get("TASKER_TOKEN", "").strip() or None) as client:
            yield client
        return
    settings = Settings.from_environ()
    if settings.shards is not None and settings.shard is None:
        with open_shards(settings.shards) as opened:
            yield Spread(settings.shards, opened)
        return
    with open_database() as db:
        yield Local(db)


def _local(place: Place, task_id: str) -> Local | None:
    """Where the task is read from a database; None for a remote installation."""
    return place.of_task(task_id) if isinstance(place, Spread) else place if isinstance(place, Local) else None


def written_report(place: Place, task_id: str, *, html: bool) -> str:
    """The report on a task. Raises `TaskerError` for a remote one."""
    found = _local(place, task_id)
    if found is None:
        raise TaskerError("--report needs the database itself; the page of the task offers it too")
    return report.html_report(found.db, task_id) if html else report.markdown_report(found.db, task_id)


def written_incident(place: Place, task_id: str) -> str:
    """The incident file of a task. Raises `TaskerError` for a remote one."""
    from webapp.incident import incident_file

    found = _local(place, task_id)
    if found is None:
        raise TaskerError("tasker incident needs the database itself; the page of the task offers the file too")
    return incident_file(found.db, task_id)
