import time
from collections.abc import Callable
from typing import Any

import pytest

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
