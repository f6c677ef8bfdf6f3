"""A proxy before the test's database, torn down with the test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from proxy import Proxy
from psycopg import conninfo


@pytest.fixture
def proxy(database_url: str) -> Iterator[Proxy]:
    """Leads to the test's database until the test tells it otherwise."""
    parts = conninfo.conninfo_to_dict(database_url)
    between = Proxy((str(parts["host"]), int(str(parts["port"]))))
    yield between
    between.close()


@pytest.fixture
def proxied_url(proxy: Proxy, database_url: str) -> str:
    """The test's database by way of the proxy."""
    return proxy.url(database_url)
