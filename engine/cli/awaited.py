"""What commands that stay wait for before they begin: a database that is not there yet, as at the boot of a machine."""

from __future__ import annotations

import logging
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import psycopg
from psycopg import conninfo, pq

from engine.cli.setting import log_to_stderr
from engine.cli.supervised import is_left
from engine.db import OutageLog, connect, plain_url
from engine.errors import DatabaseUnavailable
from engine.settings import Settings

log = logging.getLogger("tasker.cli")

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 5.0
PING_SECONDS = 2
_AWAY = (pq.Ping.REJECT, pq.Ping.NO_RESPONSE)
_WHERE = ("service", "host", "hostaddr", "port")


def await_database(settings: Settings) -> None:
    """The database that is named can be reached, however long that takes; for what waiting does not mend, who connects next has the words.

    A signal, or the end of the process that started us, ends this one with status 0.
    """
    if settings.database_url is None:
        return
    with _ended_by_signals():
        if reason := _why_away(settings.database_url):
            log_to_stderr(settings)
            _wait(settings.database_url, reason)


def _wait(url: str, reason: DatabaseUnavailable | None) -> None:
    outage, pause = OutageLog(log, "the start waits for its database"), FIRST_PAUSE_SECONDS
    while reason is not None:
        outage.met(reason)
        time.sleep(pause)
        if is_left():
            raise SystemExit(0)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        reason = _why_away(url)
    outage.over()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    before = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(_: int, __: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def _why_away(url: str) -> DatabaseUnavailable | None:
    """Why no server can be reached there; None when one can, or never will at this address."""
    try:
        connect(url, application_name="tasker cli").close()
    except DatabaseUnavailable as error:
        return error if _may_come(url, error.__cause__) else None
    return None


def _may_come(url: str, cause: BaseException | None) -> bool:
    if isinstance(cause, psycopg.errors.ConnectionTimeout):
        return True
    if "failed to resolve host" in str(cause):
        return f"[Errno {socket.EAI_AGAIN}]" in str(cause)
    return isinstance(cause, psycopg.OperationalError) and _is_away(url)


def _is_away(url: str) -> bool:
    """Whether nobody answers there, or only to say that it is too early. Asked without a name, a password or encryption, which may be what is wrong."""
    parts: dict[str, Any] = {name: value for name, value in conninfo.conninfo_to_dict(plain_url(url)).items() if name in _WHERE}
    if not all(port.isdigit() and 0 < int(port) < 65536 for port in str(parts.get("port", "")).split(",") if port):
        return False
    return pq.PGconn.ping(conninfo.make_conninfo(**parts, sslmode="disable", connect_timeout=PING_SECONDS).encode()) in _AWAY
