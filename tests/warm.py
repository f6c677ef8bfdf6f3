"""Sessions of PostgreSQL that outlive the test that opened them: a new one reads the catalogue and prepares each function that it calls, which takes
longer than most tests do.

Whoever closes a connection to a database that is kept warm gives its session back, as a new one would be but for its plans; whoever opens the same
connection next is given it. The connection itself is closed for whoever had it.
"""

from __future__ import annotations

import select
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import conninfo, generators
from psycopg.generators import PQGenConn
from psycopg.pq import ConnStatus, ExecStatus, PGconn, TransactionStatus

Kind = frozenset[tuple[str, str]]
"""All that a connection was asked for with, but for the password."""

MOST_OF_A_KIND = 4
_FORGET = (
    b"reset all; set session authorization default; reset role; select pg_advisory_unlock_all(); unlisten *; discard temp; discard sequences; deallocate all;"
    b"select pg_stat_force_next_flush()"
)
_PLACE = ("host", "port", "dbname", "user")


class WarmSessions:
    """The sessions that nobody uses at present, by what they were opened with."""

    def __init__(self) -> None:
        self._book = threading.Lock()
        self._passwords: dict[tuple[str, ...], str] = {}
        self._kinds: dict[tuple[bytes, bytes, int], Kind] = {}
        self._resting: dict[Kind, list[PGconn]] = defaultdict(list)
        self._dead = PGconn.connect_start(b"host=''")
        self._dead.finish()

    @contextmanager
    def of(self, url: str) -> Iterator[None]:
        """Within the block sessions of this URL are kept, and those given that were kept when the same place had another password."""
        parts = _parts(url)
        self._passwords[_place(parts)] = parts["password"]
        try:
            yield
        finally:
            del self._passwords[_place(parts)]

    def resting(self, database: str) -> list[int]:
        """The server processes of the sessions of this database that nobody uses; whatever the server has ended is forgotten."""
        with self._book:
            self._resting = defaultdict(list, {kind: alive for kind, many in self._resting.items() if (alive := [one for one in many if _lives(one)])})
            return [one.backend_pid for kind, many in self._resting.items() if ("dbname", database) in kind for one in many]

    def end(self, database: str) -> None:
        """No session of now is used by who comes next: neither those, nor any that is still in use."""
        with self._book:
            self._kinds = {name: kind for name, kind in self._kinds.items() if ("dbname", database) not in kind}
            for kind in [kind for kind in self._resting if ("dbname", database) in kind]:
                for one in self._resting.pop(kind):
                    one.finish()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Every connection that is opened or closed in the block comes by here."""
        open_anew, close = generators.connect, psycopg.Connection.close

        def connect(wanted: str) -> PQGenConn[PGconn]:
            kind = self._kind(wanted)
            if kind is not None and (kept := self._taken(kind)):
                return kept
            made = yield from open_anew(wanted)
            if kind is not None:
                self._kinds[_name(made)] = kind
            return made

        def rest(connection: psycopg.Connection[object]) -> None:
            if not self._is_given_back(connection):
                close(connection)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(generators, "connect", connect)
            patch.setattr(psycopg.Connection, "close", rest)
            yield

    def _kind(self, wanted: str) -> Kind | None:
        """What the connection has to be like; None where its place is not kept."""
        parts = _parts(wanted)
        if self._passwords.get(_place(parts), "") != parts.pop("password", None):
            return None
        return frozenset(parts.items())

    def _taken(self, kind: Kind) -> PGconn | None:
        with self._book:
            while many := self._resting.get(kind):
                if _lives(one := many.pop()):
                    return one
        return None

    def _is_given_back(self, connection: psycopg.Connection[object]) -> bool:
        """Whether the session rests now, and the connection is closed; not where it cannot be made as new."""
        one = connection.pgconn
        kind = None if connection.closed else self._kinds.get(_name(one))
        if kind is None or getattr(connection, "_pool", None) or not self._has_room(kind) or not _is_as_new(one):
            return False
        connection.pgconn, connection._closed = self._dead, True
        with self._book:
            self._resting[kind].append(one)
        return True

    def _has_room(self, kind: Kind) -> bool:
        with self._book:
            return len(self._resting.get(kind, ())) < MOST_OF_A_KIND


def _is_as_new(one: PGconn) -> bool:
    """Whether nothing of its last use is left."""
    if one.status != ConnStatus.OK or one.transaction_status != TransactionStatus.IDLE or one.pipeline_status:
        return False
    if one.exec_(_FORGET).status == ExecStatus.FATAL_ERROR:
        return False
    while one.notifies():
        pass
    return True


def _lives(one: PGconn) -> bool:
    """Whether nothing has arrived unasked, which would most likely be its end; then it is closed."""
    poll = select.poll()
    poll.register(one.socket, select.POLLIN)
    if poll.poll(0):
        one.finish()
        return False
    return True


def _name(one: PGconn) -> tuple[bytes, bytes, int]:
    return one.port, one.db, one.backend_pid


def _parts(text: str) -> dict[str, str]:
    return {name: str(value) for name, value in conninfo.conninfo_to_dict(text).items()}


def _place(parts: dict[str, str]) -> tuple[str, ...]:
    return tuple(parts.get(name, "") for name in _PLACE)
