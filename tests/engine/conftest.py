import pytest

from engine.registry import HandlerRegistry


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> HandlerRegistry:
    """An empty registry in place of the process's own."""
    fresh = HandlerRegistry()
    monkeypatch.setattr(HandlerRegistry, "_instance", fresh)
    return fresh
