"""The way to PostgreSQL: connections with deadlines, and the database's own error codes as our exceptions. Everyone who reads or writes comes through here."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from psycopg import Connection, conninfo
from psycopg_pool import ConnectionPool, PoolTimeout

from engine.errors import (
    DatabaseUnavailable,
    DefinitionConflict,
    KeyReused,
    LeaseLost,
    NotFound,
    TaskerError,
    WrongState,
)

CONNECT_TIMEOUT_SECONDS = 5
POOL_TIMEOUT_SECONDS = 2
CALL_TIMEOUT_SECONDS = 30
NEWS_CHANNEL = "tasker_news"
READY_CHANNEL = "tasker_ready"
CANCEL_CHANNEL = "tasker_cancel"

# what it would say of each attempt to connect, the caller says once
logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)

_BY_SQLSTATE: dict[str, type[TaskerError]] = {
    "WF001": NotFound,
    "WF002": WrongState,
    "WF003": LeaseLost,
    "WF004": DefinitionConflict,
    "WF005": KeyReused,
}


def plain_url(url: str) -> str:
    """The URL as libpq reads it: SQLAlchemy's `postgresql+psycopg://` becomes `postgresql://`."""
    for prefix in ("postgresql+psycopg://", "postgres://"):
        if url.startswith(prefix):
            return "postgresql://" + url.removeprefix(prefix)
    return url


def described(url: str) -> str:
    """Where the URL points, without its password, for messages."""
    try:
        parts = conninfo.conninfo_to_dict(plain_url(url))
    except psycopg.ProgrammingError:
        return "the database URL"
    return f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"


def connect(url: str, *, application_name: str = "tasker", options: str = "") -> Connection[tuple[Any, ...]]:
    """A connection of its own, outside any pool, in autocommit; for listeners and flushers.

    `options` are further settings of the session, as `-c name=value`. Raises `DatabaseUnavailable` when there is none within CONNECT_TIMEOUT_SECONDS.
    """
    try:
        return psycopg.connect(plain_url(url), autocommit=True, **_session(application_name, options))
    except psycopg.Error as error:
        raise unavailable(url, error) from error


def unavailable(url: str, error: Exception) -> DatabaseUnavailable:
    """One clear line about a database that does not answer."""
    first = (str(error).strip().splitlines() or ["no answer"])[0]
    return DatabaseUnavailable(f"cannot reach PostgreSQL at {described(url)}: {first}")


def translated(error: psycopg.Error) -> Exception:
    """Our exception for a database error, or the error itself when it is none of ours."""
    ours = _BY_SQLSTATE.get(error.sqlstate or "")
    if ours is not None:
        return ours(error.diag.message_primary or str(error))
    if is_lost(error):
        return DatabaseUnavailable(f"the connection to PostgreSQL was lost: {str(error).strip().splitlines()[0] if str(error).strip() else 'no answer'}")
    return error


def is_lost(error: BaseException) -> bool:
    """Whether the connection that raised it is dead, or leads to a server that cannot write."""
    if not isinstance(error, psycopg.Error):
        return isinstance(error, (PoolTimeout, DatabaseUnavailable))
    state = error.sqlstate or ""
    return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)) and not state.startswith(("40", "53", "55")) or state in ("25006",)


def is_conflict(error: BaseException) -> bool:
    """Whether the same call may simply be made again: deadlock or serialization failure."""
    return isinstance(error, psycopg.Error) and error.sqlstate in ("40P01", "40001")


class Database:
    """A small pool of connections to one database; every call through it has a deadline and speaks our exceptions."""

    def __init__(self, url: str, *, min_size: int = 0, max_size: int = 8, application_name: str = "tasker", options: str = "") -> None:
        self.url = plain_url(url)
        self._pool: ConnectionPool[Connection[tuple[Any, ...]]] = ConnectionPool(
            self.url,
            min_size=min_size,
            max_size=max_size,
            open=False,
            timeout=POOL_TIMEOUT_SECONDS,
            max_lifetime=1800,
            max_idle=120,
            check=ConnectionPool.check_connection,
            kwargs={"autocommit": True, **_session(application_name, options)},
            reconnect_timeout=CONNECT_TIMEOUT_SECONDS,
        )
        self._opening = threading.Lock()

    @contextmanager
    def connection(self) -> Iterator[Connection[tuple[Any, ...]]]:
        """A connection in autocommit for the length of the block.

        Raises `DatabaseUnavailable` when there is none, or it is lost on the way; our own SQLSTATEs by their names.
        """
        self._open()
        try:
            with self._pool.connection() as connection:
                yield connection
        except PoolTimeout as error:
            raise self._why_unavailable(error) from error
        except psycopg.Error as error:
            raise translated(error) from error

    def rows(self, query: LiteralString, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """All rows of one query; a deadlock or serialization failure is tried again."""
        for _ in range(4):
            try:
                return self._rows(query, parameters)
            except psycopg.Error as error:
                if not is_conflict(error):
                    raise
        return self._rows(query, parameters)

    def _rows(self, query: LiteralString, parameters: dict[str, Any] | None) -> list[tuple[Any, ...]]:
        with self.connection() as connection:
            return connection.execute(query, parameters).fetchall()

    def value(self, query: LiteralString, parameters: dict[str, Any] | None = None) -> Any:
        """The first column of the first row, or None."""
        found = self.rows(query, parameters)
        return found[0][0] if found else None

    def close(self) -> None:
        """No connection is left open."""
        self._pool.close()

    def _open(self) -> None:
        with self._opening:
            if self._pool.closed:
                self._pool.open()

    def _why_unavailable(self, error: Exception) -> DatabaseUnavailable:
        try:
            connect(self.url).close()
        except DatabaseUnavailable as reason:
            return reason
        return DatabaseUnavailable(f"no free connection to PostgreSQL at {described(self.url)} within {POOL_TIMEOUT_SECONDS} s: {error}")


def _session(application_name: str, options: str = "") -> dict[str, Any]:
    return {
        "application_name": application_name,
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": CALL_TIMEOUT_SECONDS * 1000,
        "options": f"-c timezone=UTC -c statement_timeout={CALL_TIMEOUT_SECONDS * 1000} -c idle_in_transaction_session_timeout=60000 {options}",
    }
