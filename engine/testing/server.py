"""One throw-away PostgreSQL for all test processes that share a purpose.

A lock on a file is a lease that the kernel ends with its process, however that dies: the last one to leave stops the server.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine import embedded
from engine.errors import DatabaseUnavailable

# The server lives as long as one test run: it may lose everything in a crash.
OPTIONS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "400"}

ROOM = 4 << 30


@contextmanager
def shared_server(purpose: str) -> Iterator[embedded.EmbeddedServer]:
    """The server that all processes of this user and `purpose` share; what killed runs left behind is removed first."""
    folder = _root() / hashlib.sha256(purpose.encode()).hexdigest()[:12]
    with gate():
        _sweep()
        lease = _lease(folder)
        fcntl.flock(lease, fcntl.LOCK_SH)
        server = embedded.ensure_server(folder, options=OPTIONS)
    try:
        yield server
    finally:
        with gate():
            _discard_unless_leased(folder, lease)
        os.close(lease)


def _sweep() -> None:
    for folder in _root().iterdir():
        if folder.is_dir():
            lease = _lease(folder)
            _discard_unless_leased(folder, lease)
            os.close(lease)


def _discard_unless_leased(folder: Path, lease: int) -> None:
    with suppress(BlockingIOError):
        fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(DatabaseUnavailable):
            embedded.stop_server(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _lease(folder: Path) -> int:
    folder.mkdir(exist_ok=True)
    return os.open(folder / "lease", os.O_RDWR | os.O_CREAT, 0o600)


@contextmanager
def gate() -> Iterator[None]:
    """One test process at a time comes, goes or migrates."""
    handle = os.open(_root() / "gate", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _root() -> Path:
    root = roomy_folder() / f"tasker-tests-{os.getuid()}"
    root.mkdir(mode=0o711, exist_ok=True)
    return root


def roomy_folder() -> Path:
    """Where tests keep their files: in memory where that has room, as a database is hundreds of small files and a disk may take half a second to make them."""
    memory = Path("/dev/shm")
    has_room = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).total >= ROOM
    return memory if has_room else Path(tempfile.gettempdir())
