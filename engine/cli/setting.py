"""What commands share: which database, which handlers, who acts. Nothing is opened before a command asks for it."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

import click
import psycopg

from engine import embedded, log_lines, migrate, tasks
from engine.access import audit
from engine.cli.reloading import need_whole
from engine.db import Database
from engine.errors import DatabaseUnavailable, Problem, RequestError, TaskerError
from engine.json_text import read_input
from engine.registry import HandlerRegistry
from engine.settings import Settings
from engine.shards import Shards

_Command = TypeVar("_Command", bound=Callable[..., Any])


def handlers_option(command: _Command) -> _Command:
    """`--handlers`: where workflows come from, before TASKER_HANDLERS."""
    text = "Modules, packages or folders with workflows, separated by commas. Default: TASKER_HANDLERS."
    return click.option("--handlers", "sources", metavar="LIST", help=text)(command)


def json_option(command: _Command) -> _Command:
    """`--json`: one JSON document on standard output and nothing else there."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def reason_option(command: _Command) -> _Command:
    """`--reason`: kept in the history beside the actor."""
    return click.option("--reason", metavar="TEXT", help="Why; kept in the history.")(command)


def preview_options(command: _Command) -> _Command:
    """`--dry-run`, `--json` for what it would do or for what was done, and `--seen` with the token that the document of a dry run holds."""
    seen = click.option("--seen", metavar="TOKEN", help="Only if it still does what the dry run that printed this token showed.")
    dry_run = click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
    return dry_run(json_option(seen(command)))


def handler_sources(given: str | None, settings: Settings) -> tuple[str, ...]:
    """The sources of `--handlers`, else those of the environment."""
    return tuple(part.strip() for part in given.split(",") if part.strip()) if given else settings.handlers


def loaded_registry(sources: tuple[str, ...], settings: Settings) -> HandlerRegistry:
    """The registry with everything the sources and installed packages offer; a module that fails, or that was passed by, is reported and the others load."""
    registry = HandlerRegistry.instance()
    with redirect_stdout(sys.stderr):  # what a module prints must not mix with what a command prints
        report = registry.load(sources, environment=settings.env)
    for problem in (*report.failures, *report.passed_by):
        click.echo(f"tasker: {problem}", err=True)
    need_whole(report.failures)
    return registry


def need_workflows(registry: HandlerRegistry, sources: tuple[str, ...]) -> None:
    """Raises `TaskerError` when there is nothing to run."""
    if not registry.definitions():
        where = ", ".join(sources) if sources else "nowhere: neither --handlers nor TASKER_HANDLERS says where to look"
        raise TaskerError(f"no workflows found in {where}")


def database_url(settings: Settings, *, upgrade: bool) -> str:
    """The database to use: TASKER_DATABASE_URL, else the embedded one, started if need be and always at the newest schema.

    Raises `DatabaseUnavailable` when it cannot be reached or its schema is behind and `upgrade` is false.
    """
    if settings.database_url is not None:
        return _named_database(settings.database_url, upgrade=upgrade)
    url = embedded.ensure_server(settings.data_dir).url
    _upgraded(url)
    return url


def _named_database(url: str, *, upgrade: bool) -> str:
    try:
        is_behind = not upgrade and not migrate.is_current(url) and bool(migrate.status(url).pending)
        if upgrade:
            _upgraded(url)
    except DatabaseUnavailable as error:
        raise DatabaseUnavailable(f"{error}; start it or correct TASKER_DATABASE_URL (without it an embedded one is used), and see `tasker doctor`") from error
    if is_behind:
        raise DatabaseUnavailable("the database has not the schema this version needs; run `tasker db upgrade`")
    return url


def _upgraded(url: str) -> None:
    if not migrate.is_current(url):
        migrate.upgrade(url)


@contextmanager
def open_database(settings: Settings | None = None) -> Iterator[Database]:
    """The database for one command."""
    database = Database(database_url(settings or Settings.from_environ(), upgrade=False), max_size=2, application_name="tasker cli")
    try:
        yield database
    finally:
        database.close()


@contextmanager
def open_shards(shards: Shards) -> Iterator[dict[str, Database]]:
    """Every database of the installation by its name, for one command; none is asked before it is needed."""
    opened = {each.name: Database(each.url, max_size=2, application_name="tasker cli") for each in shards.all}
    try:
        yield opened
    finally:
        for database in opened.values():
            database.close()


def register_all(database: Database, registry: HandlerRegistry) -> None:
    """The database knows every workflow of the registry."""
    for definition in registry.definitions():
        tasks.register_definition(database, definition)


def read_context(text: str, option: str = "--context") -> dict[str, Any]:
    """The object that the option gives, as JSON or as @ and a file. Raises RequestError."""
    value = read_json(text, option)
    if not isinstance(value, dict):
        raise RequestError([Problem(option, "not_object", "must be a JSON object, such as '{\"order_id\": 7}'")])
    return value


def read_json(text: str, option: str) -> Any:
    """What the option gives, as JSON or as @ and a file. Raises RequestError."""
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError([Problem(option, "unreadable", f"cannot read {text[1:]}: {error}")]) from None
    try:
        return read_input(text)
    except RequestError as error:
        raise RequestError([_of_option(problem, option) for problem in error.problems]) from None


def _of_option(problem: Problem, option: str) -> Problem:
    """What is no JSON at all is a fault of the option; what is wrong within keeps its path."""
    if problem.code != "bad_json":
        return problem
    return Problem(option, problem.code, f"is not JSON: {problem.message}")


def actor() -> str:
    """Who acts, for the history."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def audit_actor() -> str:
    """Who acts, for the audit: an account of this system, which is none of the dashboard's."""
    return f"cli:{actor()}"


def note(db: Database, permission: str, subject: str, *, namespace: str | None = None, reason: str | None = None, act: str, outcome: str = "done") -> None:
    """What a command did on the database itself is on record, as the dashboard's acts are. The act stands even if this fails, which is told."""
    try:
        audit.note(db, audit_actor(), permission, outcome, namespace=namespace, subject=subject, reason=reason, detail={"act": act})
    except (TaskerError, psycopg.Error) as error:
        click.echo(f"tasker: done, but not on record: {str(error).splitlines()[0]}", err=True)


def log_to_stderr(settings: Settings) -> None:
    """Log lines go to standard error. Raises `TaskerError` for a form or level that does not exist."""
    log_lines.start(settings)
