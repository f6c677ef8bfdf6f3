"""Commands that run for as long as they are wanted: the engine, the dashboard, both together, and the demonstration."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import click

from engine import embedded, queries
from engine.cli.output import print_table
from engine.cli.setting import (
    database_url,
    handler_sources,
    handlers_option,
    loaded_registry,
    log_to_stderr,
    need_workflows,
    register_all,
)
from engine.cli.supervised import PARENT, end_with_parent, stop_all
from engine.cli.workflows import follow
from engine.db import Database
from engine.errors import TaskerError
from engine.rows import TaskDetail
from engine.settings import Settings

RUNNERS = click.Choice(["processes", "threads"])
ONCE_SECONDS = 120.0


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help="Default: 8080, or the next free one.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--concurrency", type=click.IntRange(1, 1000), help="Steps at a time.")
@click.option("--runner", type=RUNNERS, default="processes", show_default=True)
@handlers_option
def up(port: int | None, host: str, concurrency: int | None, runner: str, sources: str | None) -> None:
    """Database, engine and dashboard until Ctrl-C. Example: tasker up --handlers myflows"""
    settings = Settings.from_environ()
    found = handler_sources(sources, settings)
    registry = loaded_registry(found, settings)
    need_workflows(registry, found)
    with running(settings, found, port=port, host=host, concurrency=concurrency, runner=runner) as processes:
        _wait(processes)


@click.command()
@click.option("--once", is_flag=True, help="Run the examples to their end, print what became of them, and exit.")
@click.option("--port", type=click.IntRange(0, 65535), help="Default: 8080, or the next free one.")
@click.option("--host", default="127.0.0.1", show_default=True)
def demo(once: bool, port: int | None, host: str) -> None:
    """Everything with example workflows, to look at and to play with. Example: tasker demo --once"""
    from engine.examples import demo_requests, prepared

    settings = Settings.from_environ()
    sources = ("engine.examples", *settings.handlers)
    registry = loaded_registry(sources, settings)
    with prepared(settings.data_dir) as environment:
        os.environ.update(environment)
        with running(settings, sources, port=port, host=host, web=not once) as processes:
            url = _url_of(settings)
            with _database(url) as db:
                register_all(db, registry)
                wanted = demo_requests()
                submitted = [_submit(db, expected.request) for expected in wanted]
                if once:
                    ended = _ended_as_expected(db, submitted, [expected.state for expected in wanted], processes)
            if not once:
                click.echo(f"{len(submitted)} example tasks are under way; Ctrl-C stops everything.", err=True)
                _wait(processes)
    if once and not ended:
        raise click.exceptions.Exit(1)


@click.command()
@click.option("--runner", type=RUNNERS, default="processes", show_default=True, help="Where handlers run.")
@click.option("--concurrency", type=click.IntRange(1, 1000), help="Steps at a time. Default: 4 per processor, at least 8.")
@click.option("--grace", type=click.FloatRange(0, 86400), default=30.0, show_default=True, help="Seconds that running steps have when the engine stops.")
@click.option("--lease", type=click.FloatRange(1, 3600), default=30.0, hidden=True, help="Seconds after which others take over from an engine that is not heard of.")
@handlers_option
def engine(runner: str, concurrency: int | None, grace: float, lease: float, sources: str | None) -> None:
    """Run steps until SIGTERM or Ctrl-C; several engines may share a database. Example: tasker engine --handlers myflows"""
    from engine.scheduler import Engine

    settings = Settings.from_environ()
    log_to_stderr(settings)
    found = handler_sources(sources, settings)
    registry = loaded_registry(found, settings)
    need_workflows(registry, found)
    url = database_url(settings, upgrade=False)
    companion = Engine(
        url,
        registry,
        runner="threads" if runner == "threads" else "processes",
        concurrency=concurrency,
        sources=found,
        lease=timedelta(seconds=lease),
        grace=grace,
    )
    end_with_parent(companion.stop)
    companion.run()


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help="Default: 8080, or the next free one.")
@click.option("--host", default="127.0.0.1", show_default=True)
def web(port: int | None, host: str) -> None:
    """Serve the dashboard until SIGTERM or Ctrl-C. Example: tasker web --port 8080"""
    from webapp import create_app
    from webapp.server import serve

    settings = Settings.from_environ()
    log_to_stderr(settings)
    url = database_url(settings, upgrade=False)
    app = create_app(settings, database_url=url)
    end_with_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))
    serve(app, host, port, on_ready=_announce)


@contextmanager
def running(
    settings: Settings,
    sources: Sequence[str],
    *,
    port: int | None = None,
    host: str = "127.0.0.1",
    concurrency: int | None = None,
    runner: str = "processes",
    web: bool = True,
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Database, engine and dashboard for the length of the block; what was started here is stopped at its end."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whenever it comes, what was started is stopped
    server: embedded.EmbeddedServer | None = None
    processes: list[subprocess.Popen[bytes]] = []
    arguments = ["engine", "--runner", runner, "--handlers", ",".join(sources)]
    arguments += ["--concurrency", str(concurrency)] if concurrency else []
    try:
        if not settings.database_url:
            server = embedded.ensure_server(settings.data_dir)
            settings = replace(settings, database_url=server.url)
        os.environ["TASKER_DATABASE_URL"] = database_url(settings, upgrade=True)
        processes.append(_start(arguments))
        if web:
            processes.append(_start(["web", "--host", host, *(["--port", str(port)] if port is not None else [])]))
        yield processes
    finally:
        stop_all(processes)
        if server is not None and server.started_here:
            server.stop()


def _start(arguments: list[str]) -> subprocess.Popen[bytes]:
    """A part of `up`, in a session of its own: Ctrl-C reaches only us, and we stop the parts in order."""
    environment = {**os.environ, PARENT: str(os.getpid())}
    return subprocess.Popen([sys.executable, "-m", "engine.cli", *arguments], env=environment, start_new_session=True, stdin=subprocess.DEVNULL)


def _wait(processes: list[subprocess.Popen[bytes]]) -> None:
    """Returns on Ctrl-C or SIGTERM. Raises `TaskerError` when a part ends by itself."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    while not stop.wait(0.2):
        for process in processes:
            if process.poll() is not None:
                raise TaskerError(f"the {_part(process)} ended with status {process.returncode}; its last lines above say why")
    click.echo("stopping", err=True)


def _announce(url: str) -> None:
    click.echo(f"Dashboard: {url}")
    sys.stdout.flush()


def _url_of(settings: Settings) -> str:
    return os.environ["TASKER_DATABASE_URL"]


@contextmanager
def _database(url: str) -> Iterator[Database]:
    database = Database(url, max_size=2, application_name="tasker cli")
    try:
        yield database
    finally:
        database.close()


def _submit(db: Database, request: Any) -> str:
    from engine import tasks

    return tasks.submit(db, request)


def _ended_as_expected(db: Database, submitted: list[str], expected: list[str], processes: list[subprocess.Popen[bytes]]) -> bool:
    """Whether every task ended in its state; prints a table of tasks and one of their steps."""
    states = [follow(db, task_id, ONCE_SECONDS) for task_id in submitted]
    details = [queries.task(db, task_id) for task_id in submitted]
    tasks = [
        (f"{d.task.namespace}/{d.task.name}@{d.task.version}", d.task.task_id, state, want, f"{d.task.done_count}/{d.task.step_count}")
        for d, state, want in zip(details, states, expected, strict=True)
    ]
    print_table(("workflow", "task", "state", "expected", "steps"), tasks, title="Tasks")
    print_table(("workflow", "step", "state", "attempts"), [row for detail in details for row in _step_lines(detail)], title="\nSteps")
    return states == expected


def _step_lines(detail: TaskDetail) -> list[tuple[str, str, str, str]]:
    return [(detail.task.name, step.name, step.state, f"{step.attempts}/{step.retry_limit}") for step in detail.steps]


def _part(process: subprocess.Popen[bytes]) -> str:
    return str(list(process.args)[3]) if isinstance(process.args, list) else "part"
