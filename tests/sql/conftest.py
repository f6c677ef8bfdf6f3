"""One database for all tests of a process, emptied before each: cheaper than a new one. Plans are tested in new ones."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from graphs import Conn, empty

if TYPE_CHECKING:
    from warm import WarmSessions

    from engine.embedded import EmbeddedServer

_numbers = itertools.count(1)


@pytest.fixture
def database_url(kept_database_url: str) -> str:
    """A database at the newest revision with nothing in it."""
    with psycopg.connect(kept_database_url, autocommit=True) as conn:
        empty(conn)
    return kept_database_url


@pytest.fixture
def connect(database_url: str) -> Iterator[Callable[..., Conn]]:
    """Opens another session in autocommit on the test's database; all are closed after the test."""
    with ExitStack() as stack:

        def another(options: str = "") -> Conn:
            return stack.enter_context(psycopg.connect(database_url, autocommit=True, options=options))

        yield another


@pytest.fixture
def new_database_url(admin: "psycopg.Connection[Any]", server: "EmbeddedServer", template: str) -> Iterator[str]:
    """A database in which nothing has happened yet, not even statistics."""
    yield from _database(admin, server, template)


@pytest.fixture(scope="session")
def kept_database_url(admin: "psycopg.Connection[Any]", server: "EmbeddedServer", template: str, warm_sessions: "WarmSessions") -> Iterator[str]:
    """The database the tests of this process share, and their sessions too."""
    for url in _database(admin, server, template):
        with warm_sessions.of(url):
            yield url


def _database(admin: "psycopg.Connection[Any]", server: "EmbeddedServer", template: str) -> Iterator[str]:
    name = f"sql_{os.getpid()}_{next(_numbers)}"
    admin.execute(f"create database {name} template {template} strategy file_copy owner tasker".encode())
    yield f"{server.url.rpartition('/')[0]}/{name}"
    admin.execute(f"drop database {name} with (force)".encode())
