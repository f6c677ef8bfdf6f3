"""A database for the length of a measurement, with the server's usual settings: every commit reaches the disk."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import conninfo, sql

from engine import embedded, migrate
from engine.db import Database, connect, described, plain_url
from engine.errors import DatabaseUnavailable
from engine.settings import Settings

BULK_SECONDS = 600.0
"""What one call of the bench may take: it writes in one statement what an engine writes in hours."""

_numbers = itertools.count(1)

OPTIONS = {"shared_buffers": "1GB", "max_wal_size": "4GB"}


@contextmanager
def throwaway_database(settings: Settings) -> Iterator[str]:
    """The URL of an empty, migrated database: on the server of TASKER_DATABASE_URL, else on an embedded server of its own."""
    if settings.database_url is None:
        with tempfile.TemporaryDirectory(prefix="tasker-bench-") as folder:
            yield from _embedded(Path(folder))
    else:
        yield from _created(settings.database_url)


@contextmanager
def bulk_database() -> Iterator[Database]:
    """The same, where the environment says, open for statements that may take minutes."""
    with throwaway_database(Settings.from_environ()) as url:
        db = Database(url, max_size=4, call_seconds=BULK_SECONDS)
        try:
            yield db
        finally:
            db.close()


def _embedded(folder: Path) -> Iterator[str]:
    server = embedded.ensure_server(folder, options=OPTIONS)
    try:
        migrate.upgrade(server.url)
        yield server.url
    finally:
        server.stop()


def _created(url: str) -> Iterator[str]:
    chosen = f"tasker_bench_{os.getpid()}_{next(_numbers)}"
    name = sql.Identifier(chosen)
    with connect(url, call_seconds=BULK_SECONDS) as connection:
        try:
            connection.execute(sql.SQL("create database {}").format(name))
        except psycopg.errors.InsufficientPrivilege as error:
            raise DatabaseUnavailable(f"the bench needs a database of its own, and may not create one on {described(url)}") from error
        try:
            fresh = conninfo.make_conninfo(plain_url(url), dbname=chosen)
            migrate.upgrade(_as_url(fresh))
            yield _as_url(fresh)
        finally:
            connection.execute(sql.SQL("drop database {} with (force)").format(name))


def _as_url(info: str) -> str:
    from urllib.parse import quote

    parts = conninfo.conninfo_to_dict(info)
    user, password = quote(str(parts.get("user", "")), safe=""), quote(str(parts.get("password", "")), safe="")
    return f"postgresql://{user}{':' + password if password else ''}@{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts['dbname']}"
