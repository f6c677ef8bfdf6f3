"""A test's database with a session of the engine that outlives the test. `Databases.lent` hands it out; the fixture `tasker` works on it.

A new session reads the catalogue and prepares every function that it calls: that takes ten times as long as a whole small task. So the session
stays, and with it the database's name. What keeps others out, who know the database from an earlier test, is a login of each test's own.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString
from urllib.parse import urlsplit

import psycopg
from psycopg import Connection, sql
from psycopg.pq import TransactionStatus

from engine import leases
from engine.db import connect
from engine.errors import DatabaseUnavailable
from engine.testing.emptying import end_sessions, is_emptied, pristine

# Everything that `discard all` does, but for the plans, which are what is kept.
_FORGET: LiteralString = "reset all; select pg_advisory_unlock_all(); unlisten *; discard temp; discard sequences"


@dataclass(frozen=True, slots=True)
class Lent:
    """What a test has: a URL by which anybody comes in until it ends, and the session, which is its alone."""

    url: str
    session: Connection[Any]


class Lendable:
    """A copy of a template, owned by a plain role, whose `keeper` empties it. `admin` ends other sessions."""

    def __init__(self, name: str, owner_url: str, admin: Connection[Any], keeper: Connection[Any]) -> None:
        self.name = name
        self._owner, self._admin, self._keeper = urlsplit(owner_url), admin, keeper
        self._like = pristine(keeper)
        self._alter("create role {0} nologin in role tasker")
        self._session = connect(self._url(self._owner.username, self._owner.password), application_name="tasker engine", options=leases.SESSION)

    def lend(self) -> Lent:
        """The database can be reached by a URL that nobody has known before."""
        password = secrets.token_hex(8)
        self._alter("alter role {0} login password {1}", password)
        return Lent(self._url(self.name, password), self._session)

    def is_returned(self, resting: Sequence[int] = ()) -> bool:
        """Whether it is as before, and the URL leads nowhere but to `resting` server processes; not where more than rows has changed, or the session has not survived."""
        try:
            self._alter("alter role {0} nologin")
            end_sessions(self._admin, self.name, but=[self._session.info.backend_pid, self._keeper.info.backend_pid, *resting])
            return self._has_forgotten() and is_emptied(self._keeper, self._like)
        except (psycopg.Error, DatabaseUnavailable):
            return False

    def close(self) -> None:
        """The sessions are closed."""
        self._session.close()
        self._keeper.close()

    def _has_forgotten(self) -> bool:
        """Whether nothing of the test is left in the session."""
        if self._session.info.transaction_status != TransactionStatus.IDLE:
            return False
        self._session.execute(_FORGET)
        return True

    def _url(self, user: str | None, password: str | None) -> str:
        return f"postgresql://{user}:{password}@{self._owner.hostname}:{self._owner.port}/{self.name}"

    def _alter(self, statement: LiteralString, *values: str) -> None:
        """The role that is called as the database is."""
        self._admin.execute(sql.SQL(statement).format(sql.Identifier(self.name), *map(sql.Literal, values)))
