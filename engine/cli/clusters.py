"""The options of `tasker engine` for handlers that run on other machines, and the runner that they ask for."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from engine.errors import TaskerError
from engine.runners import Runner

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

    @property
    def certificates(self) -> tuple[str, str, str] | None:
        """All three files, or None for none of them; `click.UsageError` for only some."""
        files = [file for file in (self.tls_ca, self.tls_cert, self.tls_key) if file]
        if len(files) in (1, 2):
            raise click.UsageError("--tls-ca, --tls-cert and --tls-key go together")
        return (files[0], files[1], files[2]) if files else None


def cluster_options(command: F) -> F:
    """The options of a cluster, which come as `scheduler`, `tls_ca`, `tls_cert` and `tls_key`."""
    file = click.Path(exists=True, dir_okay=False)
    for option in (
        click.option("--tls-key", type=file, help="Our key for an encrypted scheduler."),
        click.option("--tls-cert", type=file, help="Our certificate for an encrypted scheduler."),
        click.option("--tls-ca", type=file, help="The authority that signed the cluster's certificates."),
        click.option("--scheduler", help="Of --runner dask: the cluster's scheduler, as tcp://127.0.0.1:8786 or tls://host:8786."),
    ):
        command = option(command)
    return command


def runner_maker(runner: str, place: Place, *, sources: Sequence[str], most: int | None, grace: float, lease: float) -> Callable[[], Runner] | None:
    """Makes the runner on other machines that was asked for; None when handlers run here.

    Raises `click.UsageError` for options that do not fit, `TaskerError` when its packages are not installed.
    """
    if runner != "dask":
        _refuse_options(place)
        return None
    return _dask(place, sources=[_absolute(source) for source in sources], most=most, grace=grace, contact=lease / CONTACTS_PER_LEASE)


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


def _refuse_options(place: Place) -> None:
    if place != Place():
        raise click.UsageError("--scheduler and the --tls options belong to --runner dask")


def _absolute(source: str) -> str:
    """Folders and files are named as they are found from anywhere; modules as they are."""
    return os.path.abspath(source) if os.path.exists(source) else source
