"""One throw-away PostgreSQL for all test processes, and a migrated database of its own for each test that asks for one.

Tests that ask for none start none. What a browser needs is in `tests/browser/conftest.py`.
"""

import fcntl
import hashlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import psycopg

    from engine.db import Database
    from engine.embedded import EmbeddedServer

# The server lives as long as one test run: it may lose everything in a crash.
THROW_AWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "400"}

_numbers = itertools.count(1)


# --- what tests ask for


@pytest.fixture
def database_url(admin: "psycopg.Connection[Any]", server: "EmbeddedServer", template: str) -> Iterator[str]:
    """A fresh database at the newest revision, owned by a plain role; gone after the test."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    admin.execute(f"create database {name} template {template} owner tasker")
    yield _url_of(server.url, name)
    admin.execute(f"drop database {name} with (force)")


@pytest.fixture
def db(database_url: str) -> Iterator["Database"]:
    """The engine's way to that database."""
    from engine.db import Database

    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def conn(database_url: str) -> Iterator["psycopg.Connection[Any]"]:
    """A connection in autocommit to that database, beside whatever the test itself opens."""
    import psycopg

    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def empty_database_url(admin: "psycopg.Connection[Any]", server: "EmbeddedServer") -> Iterator[str]:
    """A database without our schema, for the tests of the migrations."""
    name = f"empty_{os.getpid()}_{next(_numbers)}"
    admin.execute(f"create database {name} owner tasker")
    yield _url_of(server.url, name)
    admin.execute(f"drop database {name} with (force)")


# --- the server and the template


@pytest.fixture(scope="session")
def server() -> Iterator["EmbeddedServer"]:
    """The server all test processes of this checkout share; the last one to leave stops it."""
    with _shared_server() as shared:
        yield shared


@pytest.fixture(scope="session")
def admin(server: "EmbeddedServer") -> Iterator["psycopg.Connection[Any]"]:
    """The superuser's connection: makes databases, ends other sessions."""
    import psycopg

    with psycopg.connect(server.admin_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def template(admin: "psycopg.Connection[Any]", server: "EmbeddedServer") -> str:
    """The name of a database at the newest revision, migrated by whichever process comes first."""
    name = f"template_{_migrations_digest()}"
    with _gate():
        if not admin.execute("select 1 from pg_database where datname = %s", [name]).fetchone():
            _migrate_template(admin, server, name)
    return name


def _migrate_template(admin: "psycopg.Connection[Any]", server: "EmbeddedServer", name: str) -> None:
    from engine.migrate import upgrade

    admin.execute("drop database if exists template_unfinished with (force)")
    admin.execute("create database template_unfinished owner tasker")
    upgrade(_url_of(server.url, "template_unfinished"))
    # A template with a session in it cannot be copied.
    admin.execute("alter database template_unfinished with allow_connections false")
    admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = 'template_unfinished'")
    # Last: only a whole template bears the name.
    admin.execute(f"alter database template_unfinished rename to {name}")


def _migrations_digest() -> str:
    from engine.paths import migrations_folder

    digest = hashlib.sha256()
    for file in sorted(migrations_folder().rglob("*")):
        if file.suffix in {".py", ".sql"}:
            digest.update(f"{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _url_of(url: str, database: str) -> str:
    return f"{url.rpartition('/')[0]}/{database}"


# --- sharing: a lock is a lease that the kernel ends with its process, however that dies


@contextmanager
def _shared_server() -> Iterator["EmbeddedServer"]:
    folder = _root() / _key()
    with _gate():
        _sweep()
        lease = _lease(folder)
        fcntl.flock(lease, fcntl.LOCK_SH)
        server = _ensure(folder)
    try:
        yield server
    finally:
        with _gate():
            _discard_unless_leased(folder, lease)
        os.close(lease)


def _ensure(folder: Path) -> "EmbeddedServer":
    from engine.embedded import ensure_server

    with pytest.MonkeyPatch.context() as patch:
        if _chosen_binaries():
            patch.setenv("TASKER_POSTGRES_BIN", _chosen_binaries())
        return ensure_server(folder, options=THROW_AWAY)


def _sweep() -> None:
    """No server of a killed run is left, of this checkout or another."""
    for folder in _root().iterdir():
        if folder.is_dir():
            lease = _lease(folder)
            _discard_unless_leased(folder, lease)
            os.close(lease)


def _discard_unless_leased(folder: Path, lease: int) -> None:
    from engine.embedded import stop_server
    from engine.errors import DatabaseUnavailable

    with suppress(BlockingIOError):
        fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(DatabaseUnavailable):
            stop_server(folder)
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
    root = Path(tempfile.gettempdir()) / f"tasker-tests-{os.getuid()}"
    root.mkdir(mode=0o711, exist_ok=True)
    return root


def _key() -> str:
    parts = (str(Path(__file__).resolve()), _chosen_binaries(), os.environ.get("TASKER_POSTGRES_AS", ""))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _chosen_binaries() -> str:
    return os.environ.get("TASKER_TEST_POSTGRES_BIN", "")
