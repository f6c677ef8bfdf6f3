"""One throw-away PostgreSQL for all test processes, and a migrated database of its own for each test that asks for one.

Tests that ask for none start none. What a browser needs is in `tests/browser/conftest.py`.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import psycopg
    from argon2 import PasswordHasher
    from warm import WarmSessions

    from engine.db import Database
    from engine.embedded import EmbeddedServer
    from engine.testing.databases import Databases


pytest_plugins = ("fault_minutes", "final_failures")

# A shell without job control has what it begins in the background ignore Ctrl-C, and so has everything that is begun in turn: commands that a test interrupts too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rules-of-each-file", type=int, metavar="N", help="run the first N tests of each file, each with the first of its cases: a look across everything")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes longest begins first; where few rules of each file are asked for, these alone."""
    if most := config.getoption("--rules-of-each-file"):
        items[:] = _first_rules(items, most)
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def _first_rules(items: list[pytest.Item], most: int) -> list[pytest.Item]:
    first = {item.nodeid.partition("[")[0]: item for item in reversed(items)}
    files: dict[str, list[pytest.Item]] = {}
    for item in reversed(first.values()):
        files.setdefault(item.nodeid.partition("::")[0], []).append(item)
    return [item for rules in files.values() for item in rules[:most]]


@pytest.fixture(scope="session", autouse=True)
def costly() -> Iterator["PasswordHasher"]:
    """Accounts are made and signed in by the hundred: to hash their passwords takes a thousandth of the usual work, which the fixture gives."""
    from argon2 import PasswordHasher

    from engine.access import passwords

    usual = passwords._hasher
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        yield usual


@pytest.fixture
def database_url(databases: "Databases", template: str, warm_sessions: "WarmSessions") -> Iterator[str]:
    """A database at the newest revision without a row, owned by a plain role; by this URL it is out of reach after the test."""
    with databases.lent(template, resting=warm_sessions.resting) as place, warm_sessions.of(place.url):
        yield place.url


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
def set_clock(database_url: str, admin: "psycopg.Connection[Any]", warm_sessions: "WarmSessions") -> Callable[[timedelta], None]:
    """The clock of the test's database is so much ahead, for every session that begins from now on."""

    def ahead(by: timedelta) -> None:
        name = database_url.rpartition("/")[2]
        admin.execute(f"alter database {name} set tasker.clock_offset = '{by.total_seconds()} seconds'".encode())
        warm_sessions.end(name)

    return ahead


@pytest.fixture
def empty_database_url(databases: "Databases") -> Iterator[str]:
    """A database without our schema, for the tests of the migrations."""
    with databases.fresh() as url:
        yield url


# --- the server and the template


@pytest.fixture(scope="session")
def server() -> Iterator["EmbeddedServer"]:
    """The server all test processes of this checkout share; the last one to leave stops it."""
    from engine.testing.server import shared_server

    chosen_binaries = os.environ.get("TASKER_TEST_POSTGRES_BIN", "")
    purpose = "\0".join((str(Path(__file__).resolve()), chosen_binaries, os.environ.get("TASKER_POSTGRES_AS", "")))
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            if chosen_binaries:
                patch.setenv("TASKER_POSTGRES_BIN", chosen_binaries)
            shared = stack.enter_context(shared_server(purpose))
        yield shared


@pytest.fixture(scope="session")
def admin(server: "EmbeddedServer") -> Iterator["psycopg.Connection[Any]"]:
    """The superuser's connection: makes databases, ends other sessions."""
    import psycopg

    with psycopg.connect(server.admin_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def databases(server: "EmbeddedServer", admin: "psycopg.Connection[Any]") -> Iterator["Databases"]:
    """Where databases are made."""
    from engine.testing.databases import Databases

    made = Databases(server, admin)
    yield made
    made.close()


@pytest.fixture(scope="session")
def warm_sessions() -> Iterator["WarmSessions"]:
    """What keeps sessions for the tests that come after."""
    from warm import WarmSessions

    kept = WarmSessions()
    with kept.at_work():
        yield kept


@pytest.fixture(scope="session")
def template(databases: "Databases") -> str:
    """The name of a database at the newest revision."""
    return databases.template()


@pytest.fixture(scope="session")
def tasker_databases(databases: "Databases") -> "Databases":
    """The fixture `tasker` makes its databases on this checkout's server too."""
    return databases
