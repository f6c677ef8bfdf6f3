"""Commands that run for as long as they are wanted: the engine, the dashboard, and both together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TypeVar, cast

import click

from engine import embedded, gates
from engine.access import accounts
from engine.cli.awaited import await_database
from engine.cli.clusters import Place, cluster_options, runner_maker
from engine.cli.reloading import run_reloading, tell_started
from engine.cli.setting import (
    audit_actor,
    database_url,
    handler_sources,
    handlers_option,
    loaded_registry,
    log_to_stderr,
    need_workflows,
)
from engine.cli.supervised import PARENT, end_with_parent, stop_all
from engine.db import Database
from engine.definition import nearest
from engine.errors import TaskerError
from engine.registry import HandlerRegistry
from engine.settings import Settings

LINK = "TASKER_SIGN_IN_LINK"
"""By which `up` tells its dashboard the link to print; what it is worth is in the database."""
GIVES_WAY = 5
"""How nice the engine beside a dashboard is: people who wait for a page come first."""
LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")
T = TypeVar("T")
RUNNERS = click.Choice(["processes", "threads"])
ENGINE_RUNNERS = click.Choice(["processes", "threads", "dask", "celery"])
reload_option = click.option("--reload", is_flag=True, help="For development: begin anew when files of the handlers change; what runs ends with the old code.")


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help="Default: 8080, or the next free one.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--concurrency", type=click.IntRange(1, 1000), help="Steps at a time.")
@click.option("--runner", type=RUNNERS, default="processes", show_default=True)
@handlers_option
@reload_option
def up(port: int | None, host: str, concurrency: int | None, runner: str, sources: str | None, reload: bool) -> None:
    """Database, engine and dashboard until Ctrl-C. Example: tasker up --handlers myflows"""
    settings = Settings.from_environ()
    found = handler_sources(sources, settings)
    registry = loaded_registry(found, settings)
    need_workflows(registry, found)
    need_port(host, port)
    await_database(settings)
    with running(settings, found, port=port, host=host, concurrency=concurrency, runner=runner, reload=reload) as parts:
        parts.wait()


@click.command()
@click.option("--runner", type=ENGINE_RUNNERS, default="processes", show_default=True, help="Where handlers run.")
@click.option("--concurrency", type=click.IntRange(1, 1000), help="Steps at a time. Default: 4 per processor, at least 8; on a cluster as many as it has room for.")
@click.option("--grace", type=click.FloatRange(0, 86400), default=30.0, show_default=True, help="Seconds that running steps have when the engine stops.")
@click.option("--lease", type=click.FloatRange(1, 3600), default=30.0, hidden=True, help="Seconds after which others take over from an engine that is not heard of.")
@click.option("--only", metavar="NAMES", help="Namespaces and workflows to run, the others stay for other engines: payments,orders/refund")
@click.option("--labels", metavar="NAMES", help="What this engine has for steps that need it: gpu,eu")
@click.option("--nice", type=click.IntRange(0, 19), default=0, show_default=True, help="How far it gives way to other programs of this machine.")
@cluster_options
@handlers_option
@reload_option
def engine(
    runner: str,
    concurrency: int | None,
    grace: float,
    lease: float,
    only: str | None,
    labels: str | None,
    nice: int,
    sources: str | None,
    reload: bool,
    **cluster: str | None,
) -> None:
    """Run steps until SIGTERM or Ctrl-C; several engines may share a database. Example: tasker engine --handlers myflows"""
    os.nice(nice)
    settings = Settings.from_environ()
    log_to_stderr(settings)
    found = handler_sources(sources, settings)
    if reload:
        options = ["--runner", runner, "--grace", str(grace), "--lease", str(lease), "--handlers", ",".join(found)]
        others = {"only": only, "labels": labels, **cluster}
        options += [part for name, value in others.items() if value for part in (f"--{name.replace('_', '-')}", value)]
        await_database(settings)
        run_reloading(["engine", *options, *_of_concurrency(concurrency)], found)
        return
    chosen, own = parts_of(only), parts_of(labels)
    need_labels(own)
    where = partial(database_url, settings, upgrade=False)
    make_runner = runner_maker(runner, Place(**cluster), url=where, sources=found, most=concurrency, grace=grace, lease=lease)
    registry = loaded_registry(found, settings)
    need_workflows(registry, found)
    need_chosen(registry, chosen)
    chosen = bound_to_shard(registry, chosen, settings)
    from engine.scheduler import Engine, RunnerName

    await_database(settings)
    companion = Engine(
        where(),
        registry,
        runner=cast(RunnerName, runner),
        concurrency=concurrency,
        sources=found,
        lease=timedelta(seconds=lease),
        grace=grace,
        only=chosen,
        labels=own,
        make_runner=make_runner,
    )
    end_with_parent(companion.stop)
    companion.run(on_start=tell_started)


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help="Default: 8080, or the next free one.")
@click.option("--host", default="127.0.0.1", show_default=True)
def web(port: int | None, host: str) -> None:
    """Serve the dashboard until SIGTERM or Ctrl-C. Example: tasker web --port 8080"""
    from webapp import create_app
    from webapp.server import serve

    settings = Settings.from_environ()
    log_to_stderr(settings)
    await_database(settings)
    url = database_url(settings, upgrade=False)
    need_account(url, host)
    app = create_app(settings, database_url=url)
    end_with_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))
    serve(app, host, port, on_ready=_announce)


def parts_of(text: str | None) -> tuple[str, ...]:
    """What stands between the commas."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def need_chosen(registry: HandlerRegistry, only: Sequence[str]) -> None:
    """Raises a usage error when the engine should run something of which it has no handlers: it would wait for ever."""
    known = {name for each in registry.definitions() for name in (each.namespace, f"{each.namespace}/{each.name}")}
    for name in only:
        if name not in known:
            raise click.UsageError(f"--only: there are no handlers for {name!r}{nearest(name, known)}; it takes namespaces and NAMESPACE/NAME, see: tasker handlers")


def bound_to_shard(registry: HandlerRegistry, only: Sequence[str], settings: Settings) -> tuple[str, ...]:
    """What an engine of this shard runs: `only` that, else every namespace of its handlers that lives there. Raises a usage error for what lives elsewhere."""
    if settings.shards is None:
        return tuple(only)
    here = settings.shards.named(settings.shard) if settings.shard else settings.shards.home
    for name in only:
        namespace = name.partition("/")[0]
        if settings.shards.of(namespace) != here:
            raise click.UsageError(f"--only: {namespace} lives in the database {settings.shards.of(namespace).name}, and this engine works on {here.name}; start another with --shard")
    chosen = tuple(only) or tuple(sorted({each.namespace for each in registry.definitions() if settings.shards.of(each.namespace) == here}))
    if not chosen:
        raise TaskerError(f"no handler here is of a namespace that lives in the database {here.name}; tasker --shard NAME engine chooses another")
    return chosen


def need_labels(labels: Sequence[str]) -> None:
    """Raises a usage error for what no step could name."""

    def refuse(_: str, __: str, message: str) -> None:
        raise click.UsageError(f"--labels: {message}")

    gates.read_labels("labels", labels, refuse)


def need_port(host: str, port: int | None) -> None:
    """Raises `TaskerError` for a port that was asked for and cannot be had, before anything is started or written that would be in vain."""
    if port is None:
        return
    from webapp.server import bind

    bind(host, port).close()


def need_account(url: str, host: str) -> None:
    """Raises `TaskerError` before others on the network could reach a dashboard into which nobody could sign in to guard it."""
    if host in LOOPBACK_HOSTS or _asked(url, accounts.has_accounts):
        return
    raise TaskerError(f"there is no account yet, so it listens on this machine only, not on {host}; first: tasker user create NAME --role admin --password-stdin")


def sign_in_link(url: str) -> str | None:
    """The secret of a one-time link for the local administrator, who is made at the first start; None once it has a password or others were made instead."""
    return _asked(url, _local_link)


def _local_link(db: Database) -> str | None:
    if not accounts.has_accounts(db):
        accounts.create_account(db, accounts.LOCAL_ADMIN, role="admin", actor=audit_actor())
    known = next((each for each in accounts.accounts(db) if each.name == accounts.LOCAL_ADMIN), None)
    if known is None or known.has_password or known.disabled:
        return None
    return accounts.make_sign_in_link(db, known.name, actor=audit_actor(), reason="printed at the start")


def _asked(url: str, ask: Callable[[Database], T]) -> T:
    db = Database(url, max_size=1, application_name="tasker cli")
    try:
        return ask(db)
    finally:
        db.close()


@dataclass(frozen=True, slots=True)
class Parts:
    """What `running` has started, and the database that all of it uses."""

    url: str
    processes: list[subprocess.Popen[bytes]]

    def wait(self) -> None:
        """Returns on Ctrl-C or SIGTERM. Raises `TaskerError` when a part ends by itself."""
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        while not stop.wait(0.2):
            self.check()
        click.echo("stopping", err=True)

    def check(self) -> None:
        """Raises `TaskerError` when a part has ended by itself."""
        for process in self.processes:
            if process.poll() is not None:
                raise TaskerError(f"the {_part(process)} ended with status {process.returncode}; its last lines above say why")


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
    reload: bool = False,
) -> Iterator[Parts]:
    """Database, engine and dashboard for the length of the block; what was started here is stopped at its end."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whenever it comes, what was started is stopped
    server: embedded.EmbeddedServer | None = None
    processes: list[subprocess.Popen[bytes]] = []
    arguments = ["engine", "--runner", runner, "--handlers", ",".join(sources), *_of_concurrency(concurrency), *(["--reload"] if reload else [])]
    if web:
        arguments += ["--nice", str(GIVES_WAY)]
    try:
        if not settings.database_url:
            server = embedded.ensure_server(settings.data_dir)
            settings = replace(settings, database_url=server.url)
        url = os.environ["TASKER_DATABASE_URL"] = database_url(settings, upgrade=True)
        processes.append(_start(arguments))
        if web:
            need_account(url, host)
            link = sign_in_link(url)
            os.environ.pop(LINK, None)
            if link:
                os.environ[LINK] = link
            processes.append(_start(["web", "--host", host, *(["--port", str(port)] if port is not None else [])]))
        yield Parts(url, processes)
    finally:
        stop_all(processes)
        if server is not None and server.started_here:
            server.stop()


def _of_concurrency(concurrency: int | None) -> list[str]:
    return ["--concurrency", str(concurrency)] if concurrency else []


def _start(arguments: list[str]) -> subprocess.Popen[bytes]:
    """A part of `up`, in a session of its own: Ctrl-C reaches only us, and we stop the parts in order."""
    environment = {**os.environ, PARENT: str(os.getpid())}
    return subprocess.Popen([sys.executable, "-m", "engine.cli", *arguments], env=environment, start_new_session=True, stdin=subprocess.DEVNULL)


def _announce(url: str) -> None:
    click.echo(f"Dashboard: {url}")
    if link := os.environ.get(LINK):
        click.echo(f"Sign in: {url}/login/link/{link}")
    sys.stdout.flush()


def _part(process: subprocess.Popen[bytes]) -> str:
    return str(list(process.args)[3]) if isinstance(process.args, list) else "part"
