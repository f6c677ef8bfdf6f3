"""The door to the embedded server: share the running one or start it, ask how it is, stop it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from engine.db import connect
from engine.embedded.binaries import find_binaries
from engine.embedded.cluster import ADMIN
from engine.embedded.place import (
    START_SECONDS,
    Place,
    State,
    explained,
    locked,
    read_state,
    refuse_lost_state,
    try_lock,
)
from engine.embedded.start import HOST, pid_file_lines, reap, start, wait_for_end
from engine.errors import DatabaseUnavailable

OWNER = "tasker"
DATABASE = "tasker"
NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A running server that answered. `url` is the database's plain owner; `admin_url` the superuser's, for tests and backups."""

    url: str = field(repr=False)
    admin_url: str = field(repr=False)
    started_here: bool
    pid: int
    port: int
    version: str
    data_dir: Path

    def stop(self) -> None:
        """Stop the server, whoever started or still uses it; nothing happens when it has stopped already."""
        stop_server(self.data_dir)


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """Where the embedded database lives and whether it answers now; pid, port and version only when it does."""

    running: bool
    folder: Path
    log: Path
    pid: int | None = None
    port: int | None = None
    version: str | None = None


def ensure_server(data_dir: Path, *, options: Mapping[str, str] = NO_OPTIONS) -> EmbeddedServer:
    """The server of `data_dir` answers and has its database, started now if nobody had; all callers share one server.

    It outlives this process: `stop()` or `stop_server` ends it. `options` are server settings for a start made here and are
    ignored by a server that runs already. Raises `DatabaseUnavailable` saying what is wrong and what to do.
    """
    place = Place(data_dir.absolute())
    with explained(place):
        place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(place.start_lock):
            server = _adopt(place) or _started(place, options)
            _ensure_database(server)
            return server


def stop_server(data_dir: Path) -> bool:
    """No server of `data_dir` runs afterwards; True if one did. Open transactions are rolled back (a fast stop)."""
    place = Place(data_dir.absolute())
    if not place.folder.is_dir():
        return False
    with explained(place), locked(place.start_lock):
        server = _adopt(place)
        if server is None:
            return False
        _stop(place, server)
        return True


def status(data_dir: Path) -> ServerStatus:
    """How the server of `data_dir` is now; starts and waits for nothing."""
    place = Place(data_dir.absolute())
    with explained(place):
        state = read_state(place)
        server = _reach(place, state) if state and _is_alive(place) else None
    if not state or not server:
        return ServerStatus(running=False, folder=place.folder, log=place.log)
    return ServerStatus(True, place.home(state), place.log, server.pid, server.port, server.version)


def _adopt(place: Place) -> EmbeddedServer | None:
    """The running server once it answers, also one whose starter was killed; None when no process of it lives."""
    reap()
    state = read_state(place)
    if state is None:
        return refuse_lost_state(place) if _is_alive(place) else None
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        # First, because whoever has our port by now may let us wait.
        if not _is_alive(place):
            return None
        server = _reach(place, state)
        if server:
            return server
        time.sleep(0.02)
    raise DatabaseUnavailable(
        f"A PostgreSQL uses {place.folder}, but does not answer on port {state.port} after {START_SECONDS:.0f} s. "
        f"It may be recovering, or run in another container. Its log: {place.log}"
    )


def _started(place: Place, options: Mapping[str, str]) -> EmbeddedServer:
    server = _reach(place, start(place, options))
    if server is None:
        raise DatabaseUnavailable(f"PostgreSQL started, but does not answer. Its log: {place.log}")
    return replace(server, started_here=True)


def _is_alive(place: Place) -> bool:
    """Whether any process of the server lives, also one that does not answer yet or any more."""
    if sys.platform == "win32":
        state = read_state(place)
        return state is not None and _reach(place, state) is not None
    if not place.running_lock.exists():
        return False
    handle = os.open(place.running_lock, os.O_RDWR)
    try:
        return not try_lock(handle)
    finally:
        os.close(handle)


def _reach(place: Place, state: State) -> EmbeddedServer | None:
    admin_url = _url(state, ADMIN, state.admin_password, "postgres")
    try:
        with connect(admin_url) as conn:
            return _described(place, state, conn)
    except (psycopg.OperationalError, DatabaseUnavailable):
        return None


def _described(place: Place, state: State, conn: psycopg.Connection[Any]) -> EmbeddedServer | None:
    pid = _pid_of(place.cluster(state))
    if pid is None or not _serves(conn, place.cluster(state)):
        return None
    number = conn.info.server_version
    return EmbeddedServer(
        url=_url(state, OWNER, state.password, DATABASE),
        admin_url=_url(state, ADMIN, state.admin_password, "postgres"),
        started_here=False,
        pid=pid,
        port=state.port,
        version=f"{number // 10_000}.{number % 10_000}",
        data_dir=place.data_dir,
    )


def _serves(conn: psycopg.Connection[Any], cluster: Path) -> bool:
    """False for the server of the original when this data folder is a copy made with its state file."""
    row = conn.execute("show data_directory").fetchone()
    with suppress(OSError):
        return row is not None and os.path.samefile(row[0], cluster)
    return False


def _pid_of(cluster: Path) -> int | None:
    lines = pid_file_lines(cluster)
    return int(lines[0]) if lines and lines[0].isdigit() else None


def _url(state: State, user: str, password: str, database: str) -> str:
    return f"postgresql://{user}:{password}@{HOST}:{state.port}/{database}"


def _ensure_database(server: EmbeddedServer) -> None:
    """The owner and the database exist; also after a starter that was killed before it came to them."""
    password = conninfo_to_dict(server.url)["password"]
    with connect(server.admin_url, call_seconds=START_SECONDS) as conn:
        if not conn.execute("select 1 from pg_roles where rolname = %s", [OWNER]).fetchone():
            create_role = sql.SQL("create role {} login password {}")
            conn.execute(create_role.format(sql.Identifier(OWNER), sql.Literal(password)))
        if not conn.execute("select 1 from pg_database where datname = %s", [DATABASE]).fetchone():
            create_database = sql.SQL("create database {} owner {}")
            conn.execute(create_database.format(sql.Identifier(DATABASE), sql.Identifier(OWNER)))


def _stop(place: Place, server: EmbeddedServer) -> None:
    for how in (signal.SIGINT, _immediate()):
        _ask_to_stop(place, server.pid, how)
        if _stopped_within(place, server, START_SECONDS / 2):
            return
    raise DatabaseUnavailable(f"PostgreSQL (pid {server.pid}) does not stop. Its log: {place.log}")


def _ask_to_stop(place: Place, pid: int, how: signal.Signals) -> None:
    if sys.platform == "win32":
        # PostgreSQL emulates signals there, and only its own program can send them.
        pg_ctl = find_binaries().postgres.with_name("pg_ctl.exe")
        command = [str(pg_ctl), "stop", "-m", "fast", "-D", str(place.folder / "pgdata")]
        subprocess.run(command, capture_output=True, check=False)
        return
    with suppress(ProcessLookupError):
        os.kill(pid, how)


def _immediate() -> signal.Signals:
    return signal.SIGTERM if sys.platform == "win32" else signal.SIGQUIT


def _stopped_within(place: Place, server: EmbeddedServer, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while _is_alive(place):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    wait_for_end(server.pid)
    return True
