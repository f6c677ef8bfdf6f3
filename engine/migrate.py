"""Brings a database to the schema that this version needs; called by `tasker db`, `tasker up` and the tests.

The revisions are Alembic's. Their SQL is frozen beside them and runs on the driver's own connection. Alembic takes a while to import,
so it is only when there is something to do.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from engine import database_roles
from engine.db import CALL_SECONDS, OutageLog, connect, is_lost, translated, unavailable
from engine.errors import DatabaseUnavailable, NotFound
from engine.paths import migrations_folder

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

# An application that lives in the same database may have an `alembic_version` of its own.
VERSION_TABLE = "tasker_schema_version"
STATEMENT_SECONDS = 3600.0
"""What one statement of a revision may take, on tables of any size."""
LOCK_TIMEOUT = timedelta(milliseconds=500)
"""What a revision waits for a table in use, and what whoever asks for the table after it waits behind it; and for those that it has locked before. Shorter than
PostgreSQL's `deadlock_timeout`: of a revision and a step's report that wait for each other, it is the revision that gives way."""
PATIENCE = timedelta(minutes=5)
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 8.0
_MIGRATORS_LOCK = 0x7461_736B_6572  # "tasker"

log = logging.getLogger("tasker.migration")

# At INFO Alembic tells which database dialect it met, at every start.
logging.getLogger("alembic.runtime.migration").setLevel(logging.WARNING)


class DatabaseBusy(DatabaseUnavailable):
    """A table that a revision changes is in use."""


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


def upgrade(url: str, revision: str = "head", *, lock_timeout: timedelta = LOCK_TIMEOUT, patience: timedelta = PATIENCE) -> None:
    """Apply every revision up to `revision`, each one wholly or not at all; the database's roles have their rights on what there is then.

    A second migrator waits for the first, and then finds nothing to do. A table in use is waited for no longer than `lock_timeout`, as the application
    queues up behind a migration that waits; it is tried again after a pause, and `DatabaseUnavailable` is raised when `patience` is over, or when there
    is no connection. Raises `NotFound` when `revision`, or the one the database is at, is unknown to this version.
    """
    from alembic import command

    _patiently(url, lambda config: command.upgrade(config, revision), lock_timeout, patience)
    database_roles.grant_again(url)


def downgrade(url: str, revision: str, *, lock_timeout: timedelta = LOCK_TIMEOUT, patience: timedelta = PATIENCE) -> None:
    """Undo the revisions above `revision` (`base`: all of them, with their data); waits and errors as for `upgrade`."""
    from alembic import command

    _patiently(url, lambda config: command.downgrade(config, revision), lock_timeout, patience)


def _patiently(url: str, change: Callable[[Config], object], lock_timeout: timedelta, patience: timedelta) -> None:
    """`change` is made, whenever within `patience` its tables are free. Raises `DatabaseUnavailable`."""
    outage, pause, until = OutageLog(log, "the migration waits"), FIRST_PAUSE_SECONDS, time.monotonic() + patience.total_seconds()
    while True:
        try:
            with _only_migrator(url, lock_timeout) as config:
                change(config)
            return
        except DatabaseBusy as error:
            if time.monotonic() + pause > until:
                raise
            outage.met(error)
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


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
    from sqlalchemy.exc import DBAPIError

    try:
        with _connection(url, STATEMENT_SECONDS) as connection:
            _lock(connection, lock_timeout)
            yield _config(connection)
    except CommandError as error:
        raise NotFound(_one_line(error)) from error
    except (psycopg.errors.LockNotAvailable, DBAPIError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if not isinstance(cause, psycopg.errors.LockNotAvailable):
            raise
        raise DatabaseBusy(f"the database is busy: {_one_line(cause)}{_holder(url)}") from error


def _holder(url: str) -> str:
    """Which of the sessions that hold tables of ours has the oldest transaction, in words; nothing when all have let go."""
    query = """
      select format('; session %%s (%%s) holds a table', pid, coalesce(nullif(application_name, ''), usename)) || coalesce(' since ' || date_trunc('second', xact_start), '')
      from pg_stat_activity
      where datname = current_database() and pid in (
        select l.pid from pg_locks l join pg_class c on c.oid = l.relation where l.granted and c.relname like %s and l.pid <> pg_backend_pid()
      )
      order by xact_start limit 1
    """
    with connect(url, application_name="tasker migration") as connection:
        try:
            row = connection.execute(query, ["tasker%"]).fetchone()
        except psycopg.Error as error:
            raise translated(error) from error
    return row[0] if row else ""


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
