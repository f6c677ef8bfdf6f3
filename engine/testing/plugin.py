"""The pytest plugin that comes with the package: the fixture `tasker`. Nothing is imported or started before a test asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from engine.discovery import LoadReport
    from engine.registry import HandlerRegistry
    from engine.testing.databases import Databases
    from engine.testing.workbench import Workbench


def pytest_addoption(parser: pytest.Parser) -> None:
    """`tasker_handlers` in the pytest settings names modules, packages and folders with workflows, as TASKER_HANDLERS does."""
    parser.addini("tasker_handlers", "modules, packages or folders with Tasker workflows", type="args", default=[])


@pytest.fixture(scope="session")
def tasker_databases() -> Iterator[Databases]:
    """Copies of a migrated database on a throw-away PostgreSQL that all test processes share."""
    from engine.db import connect
    from engine.testing.databases import Databases
    from engine.testing.server import shared_server

    with shared_server("workflows") as server, connect(server.admin_url, application_name="tasker test") as admin:
        databases = Databases(server, admin)
        yield databases
        databases.close()


@pytest.fixture(scope="session")
def tasker_loading(pytestconfig: pytest.Config) -> Callable[[HandlerRegistry], LoadReport]:
    """Loads the workflows that the settings name into a registry, once."""

    def load(registry: HandlerRegistry) -> LoadReport:
        return registry.load(pytestconfig.getini("tasker_handlers"))

    return lru_cache(maxsize=1)(load)


@pytest.fixture
def tasker(tasker_databases: Databases, tasker_loading: Callable[[HandlerRegistry], LoadReport], monkeypatch: pytest.MonkeyPatch) -> Iterator[Workbench]:
    """A `Workbench`: a database of this test's own, an engine in its thread, stubs, and a clock that only it moves."""
    from engine.registry import HandlerRegistry
    from engine.testing.workbench import Workbench

    registry = HandlerRegistry.instance()
    report = tasker_loading(registry)
    if report.failures:
        pytest.fail("\n".join(map(str, report.failures)), pytrace=False)
    with tasker_databases.lent(tasker_databases.template()) as place:
        monkeypatch.setenv("TASKER_DATABASE_URL", place.url)
        workbench = Workbench(place.url, registry, place.session)
        try:
            yield workbench
        finally:
            workbench.close()
