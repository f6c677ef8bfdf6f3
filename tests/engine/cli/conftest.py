"""A terminal for every test; its database is fresh and migrated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from terminal import Terminal

ORDERS = '''
from engine import PermanentError, Workflow

orders = Workflow(
    "process_order", namespace="shop", version="1.1.0", description="From payment to courier.",
    schema={"type": "object", "required": ["order_id"], "properties": {"order_id": {"type": "integer"}, "speed": {"default": "normal"}}},
)

@orders.step(retryable=False)
def charge(task):
    print("charging", task.context["order_id"])
    if task.context["order_id"] < 0:
        raise PermanentError("card refused", error_code="declined")
    return {"paid": task.context["order_id"]}

@orders.step(depends_on_step="charge")
def ship(task, charge):
    print("shipping")
    return charge["paid"] + 1
'''


@pytest.fixture
def terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, database_url: str
) -> Iterator[Terminal]:
    """A terminal with a database and no handlers."""
    made = Terminal(tmp_path, {"TASKER_DATABASE_URL": database_url, "TASKER_DATA_DIR": str(tmp_path / "data")}, capsys, monkeypatch)
    yield made
    made.end()


@pytest.fixture
def shop(terminal: Terminal) -> Terminal:
    """The same with one workflow, `shop/process_order` 1.1.0, in TASKER_HANDLERS."""
    terminal.environment["TASKER_HANDLERS"] = str(terminal.write(ORDERS))
    return terminal


@pytest.fixture
def bare(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """A terminal without any database."""
    made = Terminal(tmp_path, {"TASKER_DATA_DIR": str(tmp_path / "data")}, capsys, monkeypatch)
    yield made
    made.end()
