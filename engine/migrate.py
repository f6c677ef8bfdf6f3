"""Brings a database to the schema that this version needs; called by `tasker db`, `tasker up` and the tests.

The revisions are Alembic's. Their SQL is frozen beside them and runs on the driver's own connection. Alembic takes a while to import,
so it is only when there is something to do.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from engine import database_roles
from engine.db import CALL_SECONDS, connect, is_lost, translated, unavailable
from engine.errors import DatabaseUnavailable, NotFound
from engine.paths import migrations_folder

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

# An application that lives in the same database may have an `alembic_version` of its own.
VERSION_TABLE = "tasker_schema_version"
STATEMENT_SECONDS = 3600.0
"""What one statement of a revision may take, on tables of any size."""
_MIGRATORS_LOCK = 0x7461_736B_6572  # "tasker"

# At INFO Alembic tells which database dialect it met, at every start.
logging.getLogger("alembic.runtime.migration").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """The revision a database is at (None: empty), the newest one, and those still to come, oldest first."""

    current: str | None
    head: str | None
    pending: tuple[str, ...]


def is_current(url: str) -> bool:
    """Whether the database is at the newest revision: one query, and no Alembic."""
    newest = newest_revision()
    with connect(url, application_name="tasker migration") as connection:
        try:
            found = connection.execute(f"select version_num from {VERSION_TABLE}".encode()).fetchone()
        except psycopg.errors.UndefinedTable:
            return False
        except psycopg.Error as error:
            raise translated(error) from error
    return found == (newest,)


def newest_revision() -> str:
    """The revision that this version needs, by the names of the files."""
    return _newest_in(migrations_folder())


@cache
def _newest_in(folder: Path) -> str:
    return max(file.stem for file in (folder / "versions").glob("[0-9]*.py"))


def upgrade(url: str, revision: str = "head", *, lock_timeout: timedelta = timedelta(seconds=5)) -> None:
    """Apply every revision up to `revision`, each one wholly or not at all; the database's roles have their rights on what there is then.

    A second migrator waits for the first, up to a minute, and then finds nothing to do. Waiting longer than `lock_timeout`
    for a table in use raises `DatabaseUnavailable`, as no connection does: a migration must not queue up the application.
    Raises `NotFound` when `revision`, or the one the database is at, is unknown to this version.
    """
    from alembic import command

    with _only_migrator(url, lock_timeout) as config:
        command.upgrade(config, revision)
    database_roles.grant_again(url)


def downgrade(url: str, revision: str, *, lock_timeout: timedelta = timedelta(seconds=5)) -> None:
    """Undo the revisions above `revision` (`base`: all of them, with their data); errors as for `upgrade`."""
    from alembic import command

    with _only_migrator(url, lock_timeout) as config:
        command.downgrade(config, revision)


def build_index(name: str, on: str) -> None:
    """For a revision: the index `name` is there, built while readers and writers of its table go on; what a killed migrator left of it goes first.

    `on` is what follows `on` in SQL. What the revision did before is committed: a second run must bear to meet it.
    """
    from alembic import op

    with op.get_context().autocommit_block():
        connection = op.get_bind().connection.driver_connection
        assert isinstance(connection, psycopg.Connection)
        # It waits for everyone who began before it and keeps nobody waiting, so the usual limit would only leave half an index.
        connection.execute("select set_config('tasker.lock_timeout', current_setting('lock_timeout'), false), set_config('lock_timeout', '0', false)")
        if not connection.execute("select from pg_index where indexrelid = to_regclass(%s) and indisvalid", [name]).fetchone():
            connection.execute(f"drop index concurrently if exists {name}".encode())
            connection.execute(f"create index concurrently {name} on {on}".encode())
        connection.execute("select set_config('lock_timeout', current_setting('tasker.lock_timeout'), false)")


def status(url: str) -> MigrationStatus:
    """Compare the database with the revisions that this version carries; changes nothing.

    A database ahead of this version has a `current` that is not among them; then nothing is pending.
    """
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    with _connection(url, CALL_SECONDS) as connection:
        current = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
    script = ScriptDirectory.from_config(_config())
    revisions = [revision.revision for revision in reversed(list(script.walk_revisions()))]
    return MigrationStatus(current, script.get_current_head(), _after(revisions, current))


def _after(revisions: list[str], current: str | None) -> tuple[str, ...]:
    if current is None:
        return tuple(revisions)
    return tuple(revisions[revisions.index(current) + 1 :]) if current in revisions else ()


@contextmanager
def _only_migrator(url: str, lock_timeout: timedelta) -> Iterator[Config]:
    from alembic.util import CommandError

    with _connection(url, STATEMENT_SECONDS) as connection:
        try:
            _lock(connection, lock_timeout)
            yield _config(connection)
        except psycopg.errors.LockNotAvailable as error:
            raise DatabaseUnavailable(f"the database is busy, try again later: {_one_line(error)}") from error
        except CommandError as error:
            raise NotFound(_one_line(error)) from error


def _lock(connection: Connection, lock_timeout: timedelta) -> None:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    driver.execute("set lock_timeout = '1min'")
    # Held by the session, not by a transaction: a revision may commit midway, as for `create index concurrently`.
    driver.execute("select pg_advisory_lock(%s)", [_MIGRATORS_LOCK])
    driver.execute("select set_config('lock_timeout', %s, false)", [f"{lock_timeout / timedelta(milliseconds=1):.0f}"])
    driver.commit()


@contextmanager
def _connection(url: str, call_seconds: float) -> Iterator[Connection]:
    from sqlalchemy import NullPool, create_engine
    from sqlalchemy.exc import DBAPIError

    # Opened by psycopg itself, so that whatever libpq takes as an address is taken here.
    def opened() -> psycopg.Connection:
        return connect(url, application_name="tasker migration", call_seconds=call_seconds, autocommit=False)

    engine = create_engine("postgresql+psycopg://", creator=opened, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            yield connection
    except (DBAPIError, psycopg.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if cause is not None and is_lost(cause):
            raise unavailable(url, cause) from error
        raise


def _config(connection: Connection | None = None) -> Config:
    from alembic.config import Config

    config = Config(attributes={"connection": connection, "version_table": VERSION_TABLE})
    # The option is read by configparser, to which a lone % is the start of a reference.
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    return config


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
