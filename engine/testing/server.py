"""One throw-away PostgreSQL for all test processes that share a purpose, and databases that are copies of a migrated one.

A lock on a file is a lease that the kernel ends with its process, however that dies: the last one to leave stops the server.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from engine import embedded, migrate
from engine.errors import DatabaseUnavailable
from engine.paths import migrations_folder

# The server lives as long as one test run: it may lose everything in a crash.
OPTIONS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "400"}

ROOM = 4 << 30

_numbers = itertools.count(1)


@contextmanager
def shared_server(purpose: str) -> Iterator[embedded.EmbeddedServer]:
    """The server that all processes of this user and `purpose` share; what killed runs left behind is removed first."""
    folder = _root() / hashlib.sha256(purpose.encode()).hexdigest()[:12]
    with _gate():
        _sweep()
        lease = _lease(folder)
        fcntl.flock(lease, fcntl.LOCK_SH)
        server = embedded.ensure_server(folder, options=OPTIONS)
    try:
        yield server
    finally:
        with _gate():
            _discard_unless_leased(folder, lease)
        os.close(lease)


class Databases:
    """Makes databases on a shared server; `admin` is its superuser's connection, in autocommit."""

    def __init__(self, server: embedded.EmbeddedServer, admin: psycopg.Connection[tuple[object, ...]]) -> None:
        self._server, self._admin = server, admin

    def template(self) -> str:
        """The name of a database at the newest revision, migrated by whichever process comes first."""
        name = f"template_{_migrations_digest()}"
        with _gate():
            if not self._admin.execute("select 1 from pg_database where datname = %s", [name]).fetchone():
                self._migrate(name)
        return name

    @contextmanager
    def fresh(self, template: str | None = None) -> Iterator[str]:
        """The URL of a copy of `template`, or of an empty database, owned by a plain role; gone after the block."""
        name = f"test_{os.getpid()}_{next(_numbers)}"
        self._run(f"create database {name} {f'template {template}' if template else ''} owner tasker")
        try:
            yield self._url_of(name)
        finally:
            self._run(f"drop database {name} with (force)")

    def _migrate(self, name: str) -> None:
        self._run("drop database if exists template_unfinished with (force)")
        self._run("create database template_unfinished owner tasker")
        migrate.upgrade(self._url_of("template_unfinished"))
        # A template with a session in it cannot be copied.
        self._run("alter database template_unfinished with allow_connections false")
        self._run("select pg_terminate_backend(pid) from pg_stat_activity where datname = 'template_unfinished'")
        # Last: only a whole template bears the name.
        self._run(f"alter database template_unfinished rename to {name}")

    def _run(self, statement: str) -> None:
        self._admin.execute(statement.encode())

    def _url_of(self, database: str) -> str:
        return f"{self._server.url.rpartition('/')[0]}/{database}"


def _migrations_digest() -> str:
    digest = hashlib.sha256()
    for file in sorted(migrations_folder().rglob("*")):
        if file.suffix in {".py", ".sql"}:
            digest.update(f"{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


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
def _gate() -> Iterator[None]:
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
