"""The way to PostgreSQL: connections with deadlines, and the database's own error codes as our exceptions. Everyone who reads or writes comes through here."""

from __future__ import annotations

import logging
import math
import re
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg import Connection, conninfo
from psycopg.abc import PQGen
from psycopg.types.json import set_json_loads
from psycopg_pool import ConnectionPool, PoolTimeout

from engine.errors import (
    ChangedSince,
    DatabaseUnavailable,
    DefinitionConflict,
    KeyReused,
    LeaseLost,
    NoAnswerInTime,
    NotFound,
    TaskerError,
    WrongState,
)
from engine.json_text import read_stored

CONNECT_TIMEOUT_SECONDS = 5
POOL_TIMEOUT_SECONDS = 2
CALL_SECONDS = 9.5  # so that it ends within ten on a busy machine too: psycopg looks at the time ten times a second
CHECK_SECONDS = 2.0
IDLE_SECONDS = 60
"""How long a transaction may rest, and at most last unless its calls may take longer."""
_DEAD_CLIENTS = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
"""After 25 seconds the server knows that the machine of a session is gone, and frees what it holds."""
ASK_AGAIN_SECONDS = 1.0
DEAD_SECONDS = 0.1
OUTAGE_LOG_SECONDS = 10.0
NEWS_CHANNEL = "tasker_news"
READY_CHANNEL = "tasker_ready"
CANCEL_CHANNEL = "tasker_cancel"

# what it would say of each attempt to connect, the caller says once
logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)

_SCHEME = re.compile(r"^postgres(ql)?(\+\w+)?://")
_UNREADABLE = "the database URL"
_BY_SQLSTATE: dict[str, type[TaskerError]] = {
    "WF001": NotFound,
    "WF002": WrongState,
    "WF003": LeaseLost,
    "WF004": DefinitionConflict,
    "WF005": KeyReused,
    "WF006": ChangedSince,
}

_REMEDIES = {
    "53100": "make room on its disk, then all goes on by itself",
    "53200": "it needs more memory, or less work_mem and fewer sessions",
    "53300": "it needs a larger max_connections, or a pooler before it",
}


def plain_url(url: str) -> str:
    """The URL as libpq reads it: SQLAlchemy's `postgresql+psycopg://`, with whichever driver, becomes `postgresql://`."""
    return _SCHEME.sub("postgresql://", url, count=1)


def described(url: str) -> str:
    """Where the URL points, without its password, for messages."""
    try:
        parts = conninfo.conninfo_to_dict(plain_url(url))
    except psycopg.ProgrammingError:
        return _UNREADABLE
    if not _is_port(str(parts.get("port", ""))) or any("@" in str(parts.get(name, "")) for name in ("host", "dbname")):
        return _UNREADABLE  # a / or @ in the password, which libpq took for the end of it
    return f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"


def _is_port(text: str) -> bool:
    return set(text) <= set("0123456789,")


T = TypeVar("T")
Note = Callable[[float], None]
"""Is told how many seconds a call took, one that failed too; by whichever thread made it."""

_calls_end_at: ContextVar[float] = ContextVar("tasker_calls_end_at", default=math.inf)


def end_calls_within(seconds: float | None) -> None:
    """From now on no call of this thread lasts beyond so many seconds, however many it makes; None: each may take its own time again."""
    _calls_end_at.set(math.inf if seconds is None else time.monotonic() + seconds)


def seconds_left(most: float) -> float:
    """How long this thread may still wait for the database, at most so long; never below zero."""
    return max(0.0, min(most, _calls_end_at.get() - time.monotonic()))


class TimedConnection(Connection[tuple[Any, ...]]):
    """A connection on which no call lasts longer than `call_seconds`, whatever the network does with its packets.

    The server's statement timeout cannot cross a stalled line, and TCP's own timers do not run while a proxy acknowledges. A call that is
    late closes the connection and raises OperationalError; what it asked for may have been done.
    """

    call_seconds = CALL_SECONDS
    note: Note | None = None
    _answered_at = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        set_json_loads(read_stored, self)

    def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        seconds = seconds_left(self.call_seconds)
        try:
            return super().wait(_until(gen, time.monotonic() + seconds, self.note), *args, **kwargs)
        except TimeoutError as error:
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer within {round(seconds, 1):g} s") from error

    def check(self) -> None:
        """It answers, and soon: one that stalled while it lay in a pool must not cost its next user the whole limit. Raises OperationalError.

        One that answered a moment ago is not asked again, unless it has something to say unasked: that it ends, most likely.
        """
        if time.monotonic() - self._answered_at < ASK_AGAIN_SECONDS and not has_news(self.fileno()):
            return
        limit, self.call_seconds = self.call_seconds, min(CHECK_SECONDS, self.call_seconds)
        note, self.note = self.note, None  # nobody has called
        ConnectionPool.check_connection(self)
        self.call_seconds, self.note = limit, note
        self._answered_at = time.monotonic()


def _answers(connection: TimedConnection) -> bool:
    try:
        connection.check()
    except psycopg.Error:
        connection.close()
        return False
    return True


def has_news(descriptor: int) -> bool:
    """Whether something has arrived there, be it the end."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _until(gen: PQGen[T], deadline: float, note: Note | None) -> PQGen[T]:
    """The same conversation with the server, given up when it is resumed after the deadline: psycopg resumes it ten times a second."""
    began, wanted = time.perf_counter(), None
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if time.monotonic() > deadline:
                raise TimeoutError
            wanted = gen.send(ready)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        if note and wanted:  # else nothing was asked: there is no transaction that a commit could end
            note(time.perf_counter() - began)


def connect(
    url: str,
    *,
    application_name: str = "tasker",
    options: str = "",
    call_seconds: float = CALL_SECONDS,
    connect_seconds: int = CONNECT_TIMEOUT_SECONDS,
    autocommit: bool = True,
) -> TimedConnection:
    """A connection of its own, outside any pool, in autocommit unless told otherwise; for listeners and flushers.

    `options` are further settings of the session, as `-c name=value`. Raises `DatabaseUnavailable` when there is none within `connect_seconds`.
    """
    session = _session(url, application_name, call_seconds, options) | {"connect_timeout": connect_seconds}
    try:
        connection = TimedConnection.connect(plain_url(url), autocommit=autocommit, **session)
    except psycopg.Error as error:
        raise unavailable(url, error) from error
    connection.call_seconds = call_seconds
    return connection


def bound_transactions(connection: Connection[Any], seconds: float, *, this_alone: bool = False) -> None:
    """The server ends the session with a transaction that lasts longer; 0 is without end. PostgreSQL 17 and newer; an older one has no such limit.

    Where the network loses the last part of a request, the server waits for it with the request done and every lock held, and no other limit of its own holds then.
    """
    if connection.info.server_version >= 170_000:
        connection.execute("select set_config('transaction_timeout', %s, %s)", [str(int(seconds * 1000)), this_alone])


def keeps_session(connection: Connection[Any]) -> bool:
    """Whether two statements in a row meet the same server process: not so behind a transaction pooler."""
    backends = {_backend(connection) for _ in range(3)}
    if len(backends) > 1:
        return False
    # a pooler names a process of its own invention, also in session mode; what tells is whether it lends ours to others meanwhile
    return backends == {connection.info.backend_pid} or not _is_lent(connection, backends.pop())


def _backend(connection: Connection[Any]) -> int:
    row = connection.execute("select pg_backend_pid()", prepare=False).fetchone()
    assert row is not None
    return int(row[0])


def _is_lent(connection: Connection[Any], backend: int) -> bool:
    """Whether a transaction of somebody else gets this server process, or drives us to another one; where that cannot be tried, it is taken to be so."""
    info = connection.info
    try:
        with TimedConnection.connect(info.dsn, password=info.password, connect_timeout=CONNECT_TIMEOUT_SECONDS) as other:
            return _backend(other) == backend or _backend(connection) != backend
    except psycopg.OperationalError:
        return True


def prepare_nothing(connection: Connection[Any]) -> None:
    """No statement is prepared any more: behind a transaction pooler the next session would not know it."""
    connection.prepare_threshold = None


def unavailable(url: str, error: Exception) -> DatabaseUnavailable:
    """One clear line about a database that does not answer."""
    first = _first_line(error)
    if "unsupported startup parameter" in first:
        return DatabaseUnavailable(
            f"{described(url)} is a connection pooler that refuses settings of a session ({first.rpartition(':')[2].strip()}); "
            "set TASKER_DATABASE_URL to PostgreSQL itself, or to a pool in session mode with ignore_startup_parameters = options"
        )
    if described(url) == _UNREADABLE:  # what libpq says of it quotes parts of the password
        return DatabaseUnavailable(
            "the database URL is no address of PostgreSQL, such as postgresql://user:password@localhost:5432/name; in a password write / as %2F, @ as %40 and % as %25"
        )
    return DatabaseUnavailable(f"cannot reach PostgreSQL at {described(url)}: {first}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no answer"])[0]


class OutageLog:
    """Tells of an outage once in OUTAGE_LOG_SECONDS, however often it is met and by however many threads, and once that it is over."""

    def __init__(self, log: logging.Logger, subject: str, end: str = "the database answers again") -> None:
        self._log, self._subject, self._end = log, subject, end
        self._since: float | None = None
        self._told = 0.0
        self._book = threading.Lock()

    def met(self, error: BaseException) -> None:
        """What it is about failed us."""
        with self._book:
            now = time.monotonic()
            self._since = self._since or now
            if now - self._told < OUTAGE_LOG_SECONDS:
                return
            self._told = now
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        self._log.warning("%s and tries again: %s", self._subject, reason)

    def over(self) -> None:
        """What it is about answered."""
        if self._since is None:
            return
        with self._book:
            since, self._since = self._since, None
        if since is not None:
            self._log.info("%s, after %.1f s", self._end, time.monotonic() - since)


def translated(error: psycopg.Error) -> Exception:
    """Our exception for a database error, or the error itself when it is none of ours."""
    ours = _BY_SQLSTATE.get(error.sqlstate or "")
    if ours is not None:
        return ours(error.diag.message_primary or str(error))
    if isinstance(error, psycopg.errors.QueryCanceled):
        return NoAnswerInTime(f"PostgreSQL needed more time than a call may take: {_first_line(error)}")
    if is_lost(error):
        kind = NoAnswerInTime if isinstance(error.__cause__, TimeoutError) else DatabaseUnavailable
        return kind(f"the connection to PostgreSQL was lost: {_first_line(error)}")
    if is_short(error):
        return DatabaseUnavailable(_of_shortage(error))
    return error


def _of_shortage(error: psycopg.Error) -> str:
    """What the server lacks, and what to do: all goes on by itself when it has it."""
    remedy = _REMEDIES.get(error.sqlstate or "", "it tells more in its log")
    return f"PostgreSQL lacks something to go on with: {_first_line(error)}; {remedy}"


def is_lost(error: BaseException) -> bool:
    """Whether the connection that raised it is dead, or leads to a server that cannot write."""
    if not isinstance(error, psycopg.Error):
        return isinstance(error, (PoolTimeout, DatabaseUnavailable))
    state = error.sqlstate or ""
    return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)) and not state.startswith(("40", "53", "55")) or state in ("25006",)


def is_short(error: BaseException) -> bool:
    """Whether the server has no room left on its disk, in its memory or for another session: the same call may succeed later."""
    return isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith("53")


def is_conflict(error: BaseException) -> bool:
    """Whether the same call may simply be made again: deadlock or serialization failure."""
    return isinstance(error, psycopg.Error) and error.sqlstate in ("40P01", "40001")


class Database:
    """A small pool of connections to one database; every call through it has a deadline and speaks our exceptions."""

    is_lasting = True
    """Whether what was read holds for others who ask for the same `url`."""

    commits_at_once = True
    """Whether what a call has written is committed when it returns."""

    def __init__(
        self,
        url: str,
        *,
        min_size: int = 0,
        max_size: int = 8,
        application_name: str = "tasker",
        call_seconds: float = CALL_SECONDS,
        transaction_seconds: float | None = None,
        options: str = "",
        note: Note | None = None,
    ) -> None:
        self.url = plain_url(url)
        self._call_seconds, self._note = call_seconds, note
        self._transaction_seconds = transaction_seconds or max(IDLE_SECONDS, 2 * call_seconds)
        self._pool: ConnectionPool[TimedConnection] = ConnectionPool(
            self.url,
            connection_class=TimedConnection,
            configure=self._configure,
            min_size=min_size,
            max_size=max_size,
            open=False,
            timeout=POOL_TIMEOUT_SECONDS,
            max_lifetime=1800,
            max_idle=120,
            kwargs={"autocommit": True, **_session(self.url, application_name, call_seconds, options)},
            reconnect_timeout=POOL_TIMEOUT_SECONDS,  # then whoever asks next tries at once, instead of waiting for a pause that grows
        )
        self._opening = threading.Lock()
        self._keeps_session: bool | None = None

    @contextmanager
    def connection(self) -> Iterator[Connection[tuple[Any, ...]]]:
        """A connection in autocommit for the length of the block.

        Raises `DatabaseUnavailable` when there is none, it is lost on the way or the time is up (`end_calls_within`); our own SQLSTATEs by their names.
        """
        if not seconds_left(1):
            raise NoAnswerInTime(f"PostgreSQL at {described(self.url)} took too long to answer everything that was asked of it")
        self._open()
        try:
            with self._taken() as connection:
                try:
                    yield connection
                except psycopg.errors.ReadOnlySqlTransaction:
                    connection.close()  # the server was demoted: the address may lead to its successor by now
                    raise
        except PoolTimeout as error:
            raise self._why_unavailable(error) from error
        except psycopg.Error as error:
            raise translated(error) from error

    @contextmanager
    def _taken(self) -> Iterator[TimedConnection]:
        """One of the pool that answers; those that do not, all of them after a restart, are replaced on the way. Raises PoolTimeout."""
        deadline, dead = time.monotonic() + seconds_left(POOL_TIMEOUT_SECONDS), 0
        while not _answers(connection := self._pool.getconn(max(0.0, deadline - time.monotonic()))):
            self._pool.putconn(connection)
            dead += 1
            if dead > self._pool.max_size:  # not left from before: new ones die too
                time.sleep(DEAD_SECONDS)
        try:
            with connection:
                yield connection
        finally:
            self._pool.putconn(connection)

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

    def _configure(self, connection: TimedConnection) -> None:
        connection.call_seconds = self._call_seconds
        if self._keeps_session is None:
            self._keeps_session = keeps_session(connection)
        if self._keeps_session:
            bound_transactions(connection, self._transaction_seconds)
        else:
            prepare_nothing(connection)
        connection.note = self._note

    def _open(self) -> None:
        with self._opening:
            if self._pool.closed:
                self._pool.open()

    def _why_unavailable(self, error: Exception) -> DatabaseUnavailable:
        if seconds_left(1) < 1:
            return NoAnswerInTime(f"no free connection to PostgreSQL at {described(self.url)} in time: {error}")
        try:
            connect(self.url, connect_seconds=POOL_TIMEOUT_SECONDS).close()
        except DatabaseUnavailable as reason:
            return reason
        return NoAnswerInTime(f"no free connection to PostgreSQL at {described(self.url)} within {POOL_TIMEOUT_SECONDS} s: {error}")


def _session(url: str, application_name: str, call_seconds: float, options: str = "") -> dict[str, Any]:
    # a little earlier than we give up: where the server can still answer, it does, and the connection stays
    server_milliseconds = int(call_seconds * 900)
    return {
        "application_name": application_name,
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": int(call_seconds * 1000),
        "options": f"-c timezone=UTC -c statement_timeout={server_milliseconds} -c idle_in_transaction_session_timeout={IDLE_SECONDS * 1000} -c idle_session_timeout=0 {_DEAD_CLIENTS} {_own_options(url)} {options}",
    }


def _own_options(url: str) -> str:
    """The settings that the URL itself makes, such as a `search_path`: ours stand beside them, not in their place."""
    try:
        return str(conninfo.conninfo_to_dict(plain_url(url)).get("options") or "")
    except psycopg.ProgrammingError:
        return ""  # connecting says what is wrong with it
