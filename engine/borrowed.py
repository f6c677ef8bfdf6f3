"""A transaction of the caller's own, for tasks that exist if and only if it commits. `submit(..., connection=...)` comes here.

The statements run on the caller's psycopg connection, also where SQLAlchemy holds it, behind a savepoint: what is refused undoes nothing else.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, LiteralString, TypeAlias, Union

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from engine.db import Database, translated
from engine.errors import TaskerError

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session, scoped_session

Transaction: TypeAlias = Union["psycopg.Connection[Any]", "Connection", "Session", "scoped_session[Any]"]
"""What a caller may hand over: a psycopg connection, or a connection or session of SQLAlchemy on that driver."""


class NoTransaction(TaskerError):
    """What was given as `connection` has no transaction that a task could be part of; the message says how to give one."""


class Borrowed(Database):
    """The caller's transaction with the methods of a `Database`; it is neither committed nor closed here."""

    is_lasting = False
    commits_at_once = False

    def __init__(self, given: Transaction) -> None:
        self._connection = _begun(given)
        self.url = "the caller's transaction"

    def rows(self, query: LiteralString, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """All rows of one query; a conflict is the caller's to meet, whose whole transaction has to be tried again."""
        try:
            with self._connection.transaction(), self._connection.cursor(row_factory=tuple_row) as cursor:
                return cursor.execute(query, parameters).fetchall()
        except psycopg.Error as error:
            raise translated(error) from error

    def close(self) -> None:
        """The connection stays open; it is the caller's."""


def _begun(given: Any) -> psycopg.Connection[Any]:
    """The psycopg connection behind what was given, in a transaction. Raises `NoTransaction`."""
    connection = given if isinstance(given, psycopg.Connection) else _of_sqlalchemy(given)
    if connection.info.transaction_status == TransactionStatus.IDLE:
        connection.execute("select 1")  # as any statement of the caller's would begin it
    if connection.info.transaction_status == TransactionStatus.IDLE:
        raise NoTransaction("the connection is in autocommit, so nothing would bind the task to what you write; open a transaction around both: with connection.transaction():")
    return connection


def _of_sqlalchemy(given: Any) -> psycopg.Connection[Any]:
    orm, core = sys.modules.get("sqlalchemy.orm"), sys.modules.get("sqlalchemy")
    if orm is not None and isinstance(given, (orm.Session, orm.scoped_session)):
        given = given.connection()
    if core is None or not isinstance(given, core.Connection):
        raise NoTransaction(f"connection must be a psycopg.Connection or a Connection or Session of SQLAlchemy, not {type(given).__name__}")
    if not given.in_transaction():
        given.exec_driver_sql("select 1")  # SQLAlchemy has to know of the transaction, or it would not commit it
    found = given.connection.driver_connection
    if not isinstance(found, psycopg.Connection):
        raise NoTransaction(f"SQLAlchemy must use the driver psycopg here, as in postgresql+psycopg://, not {given.dialect.driver}")
    return found
