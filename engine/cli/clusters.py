"""The runner that `tasker engine` was asked for, and the options of those that run handlers on other machines."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import click

from engine.errors import TaskerError
from engine.runners import Runner, usual_concurrency

CONTACTS_PER_LEASE = 3
"""An engine is lost to its cluster well before it is lost to the database."""
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Place:
    """Where the cluster is, and how to speak with it."""

    scheduler: str | None = None
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    broker: str | None = None

    @property
    def certificates(self) -> tuple[str, str, str] | None:
        """All three files, or None for none of them; `click.UsageError` for only some, or one that is not there."""
        files = [file for file in (self.tls_ca, self.tls_cert, self.tls_key) if file]
        if len(files) in (1, 2):
            raise click.UsageError("--tls-ca, --tls-cert and --tls-key go together")
        if missing := next((file for file in files if not os.path.isfile(file)), None):
            raise click.UsageError(f"there is no file {missing}")
        return (files[0], files[1], files[2]) if files else None


def cluster_options(command: F) -> F:
    """The options of a cluster, which come as the fields of `Place`."""
    file = click.Path()
    for option in (
        click.option("--tls-key", type=file, help="Our key for an encrypted scheduler."),
        click.option("--tls-cert", type=file, help="Our certificate for an encrypted scheduler."),
        click.option("--tls-ca", type=file, help="The authority that signed the cluster's certificates."),
        click.option("--broker", envvar="TASKER_BROKER_URL", help="Of --runner celery: the broker, as redis://127.0.0.1:6379/0 or amqp://host."),
        click.option("--scheduler", help="Of --runner dask: the cluster's scheduler, as tcp://127.0.0.1:8786 or tls://host:8786."),
    ):
        command = option(command)
    return command


def runner_maker(runner: str, place: Place, *, url: Callable[[], str], sources: Sequence[str], most: int | None, grace: float, lease: float) -> Callable[[], Runner] | None:
    """Makes the runner that was asked for; None for threads, which need nothing from here. Processes begin at once to load the handlers.

    Raises `click.UsageError` for options that do not fit, `TaskerError` when its packages are not installed.
    """
    _refuse_options(runner, place)
    if runner == "celery":
        return _celery(url, place, most=most, contact=lease / CONTACTS_PER_LEASE)
    if runner == "processes":
        return _processes(sources, most, grace)
    if runner == "threads":
        return None
    return _dask(place, sources=[_absolute(source) for source in sources], most=most, grace=grace, contact=lease / CONTACTS_PER_LEASE)


def _processes(sources: Sequence[str], most: int | None, grace: float) -> Callable[[], Runner]:
    from engine import log_lines
    from engine.runners.processes import ProcessesRunner

    def make() -> ProcessesRunner:
        return ProcessesRunner(most or usual_concurrency(), sources=sources, grace=grace)

    log_lines.name_engine()  # before the processes begin, which take it on
    first = make()
    first.begin()  # beside all that this process has to load for itself
    click.get_current_context().call_on_close(first.forget)
    begun = [first]
    return lambda: begun.pop() if begun else make()


def _dask(place: Place, **options: Any) -> Callable[[], Runner]:
    scheduler, files = place.scheduler, place.certificates
    if scheduler is None:
        raise click.UsageError("--runner dask needs --scheduler, the address of the cluster: tcp://127.0.0.1:8786")
    try:
        from engine.runners.dask import DaskRunner
        from engine.runners.dask_cluster import Certificates, need_encryption
    except ModuleNotFoundError as error:
        raise TaskerError(f"--runner dask needs the package {error.name}; pip install 'tasker-engine[dask]'") from error
    need_encryption(scheduler)
    if scheduler.startswith("tls://") and files is None:
        raise click.UsageError("an encrypted scheduler needs --tls-ca, --tls-cert and --tls-key")
    certificates = None if files is None else Certificates(*files)
    return lambda: DaskRunner(scheduler, certificates=certificates, **options)


def _celery(url: Callable[[], str], place: Place, *, most: int | None, contact: float) -> Callable[[], Runner]:
    if place.broker is None:
        raise click.UsageError("--runner celery needs --broker or TASKER_BROKER_URL, the address of the broker: redis://127.0.0.1:6379/0")
    try:
        from engine import celery_worker
    except ModuleNotFoundError as error:
        raise TaskerError(f"--runner celery needs the package {error.name}; pip install 'tasker-engine[celery]'") from error
    from engine import deliveries
    from engine.runners.celery import CeleryRunner

    broker = celery_worker.CeleryBroker(celery_worker.make_app(place.broker, celery_worker.transport_options(os.environ)))

    def make() -> Runner:
        posts = deliveries.Posts(url(), str(uuid.uuid4()), call_seconds=contact)
        return CeleryRunner(posts, broker, deliveries.heard, most=most)

    return make


def _refuse_options(runner: str, place: Place) -> None:
    if runner != "dask" and replace(place, broker=None) != Place():
        raise click.UsageError("--scheduler and the --tls options belong to --runner dask")


def _absolute(source: str) -> str:
    """Folders and files are named as they are found from anywhere; modules as they are."""
    return os.path.abspath(source) if os.path.exists(source) else source
