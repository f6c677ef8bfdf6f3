import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest

from engine.db import Database
from engine.registry import HandlerRegistry


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> HandlerRegistry:
    """An empty registry in place of the process's own."""
    fresh = HandlerRegistry()
    monkeypatch.setattr(HandlerRegistry, "_instance", fresh)
    return fresh


@pytest.fixture
def eventually() -> Callable[..., bool]:
    """Waits for a condition that other threads make true: `assert eventually(lambda: ...)`."""

    def wait(condition: Callable[[], Any], seconds: float = 60.0) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    return wait


@pytest.fixture
def later(database_url: str, set_clock: Callable[[timedelta], None]) -> Iterator[Callable[..., Database]]:
    """A way to the database in which it is so much later, for every session that begins from now on."""
    with ExitStack() as stack:

        def move(**ahead: float) -> Database:
            set_clock(timedelta(**ahead))
            database = Database(database_url)
            stack.callback(database.close)
            return database

        yield move
