"""Brings a PostgreSQL up in the data folder, making its cluster the first time; called under the start lock only."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from engine.embedded.binaries import Binaries, find_binaries
from engine.embedded.cluster import make_cluster, refuse_other_major, server_environ, tail
from engine.embedded.identity import Identity, drop, hand_over, identity_for, reachable
from engine.embedded.place import (
    START_SECONDS,
    Place,
    State,
    private_file,
    read_state,
    refuse_lost_state,
    running_lock,
    write_state,
)
from engine.errors import DatabaseUnavailable

HOST = "127.0.0.1"
LOG_BYTES = 10_000_000
SERVER_OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "listen_addresses": HOST,
        "unix_socket_directories": "",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_checkpoints": "off",
        "shared_buffers": "256MB",
        "max_connections": "200",
        "max_wal_size": "2GB",
        "checkpoint_timeout": "15min",
        "jit": "off",
        "autovacuum_naptime": "15s",
        "autovacuum_vacuum_cost_limit": "2000",
    }
)
# Kept until they end: a child nobody waits for stays in the process table.
_children: list[subprocess.Popen[bytes]] = []


def start(place: Place, options: Mapping[str, str]) -> State:
    """PostgreSQL is ready for connections, with its cluster made if there was none; the state says where.

    Raises `DatabaseUnavailable` with the last lines of what PostgreSQL said when it does not come up.
    """
    binaries = find_binaries()
    state = read_state(place) or _new_state(place)
    refuse_other_major(place.cluster(state), binaries)
    identity = identity_for(place.cluster(state))
    if not place.cluster(state).exists():
        state = make_cluster(place, state, binaries, identity, options)
    hand_over(place.cluster(state), identity)
    _rotate(place.log)
    return _run(place, state, binaries, identity, options)


def _new_state(place: Place) -> State:
    if (place.folder / "pgdata").exists():
        refuse_lost_state(place)
    return State(_free_port(0), secrets.token_urlsafe(24), secrets.token_urlsafe(24))


def _run(place: Place, state: State, binaries: Binaries, identity: Identity, options: Mapping[str, str]) -> State:
    """PostgreSQL is ready; the state file names its port. Tries again what passes by itself: a taken port, dying processes."""
    binaries = reachable(binaries, identity, place.home(state))
    deadline = time.monotonic() + START_SECONDS
    while True:
        state = replace(state, port=_free_port(state.port))
        # Before the start: should we be killed now, the next process finds the server by this port.
        write_state(place, state)
        log_start = place.log.stat().st_size if place.log.exists() else 0
        process = _launch(place, state, binaries, identity, options)
        if _becomes_ready(process, place.cluster(state), deadline):
            return state
        _explain_or_wait(process, _log_since(place.log, log_start), place, deadline)


def _launch(
    place: Place, state: State, binaries: Binaries, identity: Identity, options: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    cluster = place.cluster(state)
    settings = {**SERVER_OPTIONS, **options, "port": str(state.port)}
    arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with running_lock(place, cluster) as handles, open(private_file(place.log, os.O_APPEND), "ab") as log:
        process = subprocess.Popen(
            [*identity.prefix, str(binaries.postgres), "-D", str(cluster), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=cluster.parent,
            env=server_environ(),
            # A Ctrl-C in the terminal is for us; the server is stopped on purpose only.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            pass_fds=handles,
            **drop(identity),
        )
    _children.append(process)
    return process


def _becomes_ready(process: subprocess.Popen[bytes], cluster: Path, deadline: float) -> bool:
    while process.poll() is None and time.monotonic() < deadline:
        lines = pid_file_lines(cluster)
        # The pid as well: the file of a killed predecessor says "ready" too.
        if len(lines) >= 8 and lines[0] == str(process.pid) and lines[7] == "ready":
            return True
        time.sleep(0.005)
    return False


def _explain_or_wait(process: subprocess.Popen[bytes], output: str, place: Place, deadline: float) -> None:
    if process.returncode is None:
        raise DatabaseUnavailable(
            f"PostgreSQL is still not ready after {START_SECONDS:.0f} s; try again later. Its log: {place.log}"
        )
    # The port, the shared memory of a killed server's last processes, or its pid file.
    passing = ("in use", "already exists")
    if time.monotonic() > deadline or not any(sign in output for sign in passing):
        raise DatabaseUnavailable(f"PostgreSQL did not start:\n{tail(output)}\nIts log: {place.log}")
    time.sleep(0.05)


def pid_file_lines(cluster: Path) -> list[str]:
    with suppress(OSError):
        return [line.strip() for line in (cluster / "postmaster.pid").read_text(errors="replace").splitlines()]
    return []


def _free_port(wanted: int) -> int:
    """`wanted` when it is free, so that processes holding the URL find a restarted server again; else any."""
    with socket.socket() as probe:
        if sys.platform != "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError:
            probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))


def _log_since(log: Path, position: int) -> str:
    with open(log, "rb") as file:
        file.seek(position)
        return file.read().decode(errors="replace")


def reap() -> None:
    """Servers started here that have ended leave the process table."""
    _children[:] = [process for process in _children if process.poll() is None]


def wait_for_end(pid: int) -> None:
    """Wait for a server that is ending, if it was started here."""
    for process in _children:
        if process.pid == pid:
            process.wait()
    reap()
