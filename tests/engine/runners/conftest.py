"""What the tests of all runners need: calls to submit and a place where the outcomes arrive."""

from __future__ import annotations

import importlib
import itertools
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.definition import TaskDefinition
from engine.journal import Line, Progress, Said
from engine.runners import Outcome, StepCall, TaskInfo

HANDLERS = Path(__file__).parent / "handlers"


@pytest.fixture(scope="session")
def definition() -> Iterator[TaskDefinition]:
    """The workflow of `handlers/misbehaving.py`."""
    sys.path.insert(0, str(HANDLERS))
    yield importlib.import_module("misbehaving").misbehaving.definition
    sys.path.remove(str(HANDLERS))


class Calls:
    """Makes calls of the misbehaving workflow's steps: `calls("sleep", seconds=1)`."""

    def __init__(self, definition: TaskDefinition) -> None:
        self.definition = definition
        self._ids = itertools.count(1)

    def __call__(self, step: str, inputs: dict[str, str] | None = None, **context: Any) -> StepCall:
        task_id = next(self._ids)
        of = self.definition
        public_id = f"00000000-0000-4000-8000-{task_id:012d}"
        task = TaskInfo(task_id, public_id, of.namespace, of.name, of.version, of, json.dumps(context))
        return StepCall(task, of.numbers[step], 1, 3, inputs or {})


@pytest.fixture
def calls(definition: TaskDefinition) -> Calls:
    """A maker of calls."""
    return Calls(definition)


class Inbox:
    """Where a runner delivers; every call may have one outcome only."""

    def __init__(self) -> None:
        self.outcomes: dict[StepCall, tuple[int, Any]] = {}
        self.times: dict[StepCall, float] = {}
        self.order: list[StepCall] = []
        self.said: dict[StepCall, list[Said]] = {}
        self._news = threading.Condition()

    def hear(self, call: StepCall, said: Said) -> None:
        """The runner's other side; nothing may be said after the outcome."""
        with self._news:
            assert call not in self.outcomes, "said after its end"
            self.said.setdefault(call, []).append(said)

    def lines(self, call: StepCall) -> list[str]:
        """The texts of the call's lines so far."""
        return [said.message for said in self.said.get(call, []) if isinstance(said, Line)]

    def progress(self, call: StepCall) -> list[Progress]:
        """What it reported of its progress."""
        return [said for said in self.said.get(call, []) if isinstance(said, Progress)]

    def deliver(self, outcomes: list[Outcome]) -> None:
        """The runner's side."""
        with self._news:
            for call, kind, payload in outcomes:
                assert call not in self.outcomes, "delivered twice"
                self.outcomes[call] = kind, json.loads(payload)
                self.times[call] = time.monotonic()
                self.order.append(call)
            self._news.notify_all()

    def wait(self, *calls: StepCall, seconds: float = 30.0) -> Any:
        """The outcome of the call, or a list of outcomes, as soon as all are there."""
        with self._news:
            arrived = self._news.wait_for(lambda: all(call in self.outcomes for call in calls), seconds)
        assert arrived, f"only {len(self.outcomes)} of {len(calls)} arrived"
        found = [self.outcomes[call] for call in calls]
        return found[0] if len(calls) == 1 else found


@pytest.fixture
def inbox() -> Inbox:
    """An empty inbox."""
    return Inbox()


@pytest.fixture
def eventually() -> Callable[..., bool]:
    """Waits for a condition that only another process can make true: `assert eventually(lambda: ...)`."""

    def wait(condition: Callable[[], Any], seconds: float = 30.0) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    return wait
