"""The seam between the worker and whatever executes handlers: a batch of claimed steps goes in, outcomes come out.

A runner holds no database connection; what it cannot find in a call it asks `lookup` for.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from engine.definition import TaskDefinition
from engine.journal import Said

COMPLETED: Final = 0  # payload: the result as JSON
FAILED: Final = 1  # payload: {"type", "message", "code", "retryable", "delay", "traceback"} as JSON
RELEASED: Final = 2  # handed back uncharged: never started, or stopped by a drain
CANCELLED: Final = 3  # stopped on request
DECIDED: Final = 4  # completed, and payload names the children that go on, as a JSON list
STORED: Final = 6  # completed, and payload is what stands for the object that holds the result
EXPANDED: Final = 5  # the worker's own: a map step is due, whose items the database makes or gathers


def usual_concurrency() -> int:
    """How many handlers an engine runs at once when nobody says: most of them wait for something."""
    return max(8, 4 * (os.cpu_count() or 2))


@dataclass(slots=True, eq=False)
class TaskInfo:
    """What every step of one task shares; `results` holds what this process knows, by step_no, as JSON text."""

    task_id: int
    public_id: str
    namespace: str
    name: str
    version: str
    definition: TaskDefinition
    context_json: str
    correlation_id: str | None = None
    traceparent: str | None = None
    results: dict[int, str] = field(default_factory=dict)
    held: int = 0
    """How many of its steps the worker holds now; the worker's own."""


class Item(NamedTuple):
    """What makes a step an item of map step `map_no`: its place in the list and, as JSON text, the element that stands there."""

    map_no: int
    place: int
    json: str


@dataclass(slots=True, eq=False)
class StepCall:
    """One attempt to execute; `inputs` maps a parent's name to its result as JSON text, or as `engine.objects` marks it; `claim` is the worker's own."""

    task: TaskInfo
    step_no: int
    attempt: int
    retry_limit: int
    inputs: dict[str, str]
    claim: Any = None
    item: Item | None = None

    @property
    def template_no(self) -> int:
        """The number of the template it follows: its own, or for an item that of its map step."""
        return self.step_no if self.item is None else self.item.map_no


Outcome = tuple[StepCall, int, str]
Deliver = Callable[[list[Outcome]], None]
Lookup = Callable[[StepCall, list[str]], dict[str, str]]
Hear = Callable[[StepCall, Said], None]


def nobody(call: StepCall, said: Said) -> None:
    """A listener that does not listen."""


class Runner(Protocol):
    """Executes calls. Every submitted call is delivered exactly once, from any thread.

    `may_wait`, asked while it delivers, says that nothing else depends on that thread, so it may be kept for a round trip to the database.
    `may_start_until` is set by the worker: after that moment (monotonic seconds) no handler is begun, for the call may run elsewhere by then;
    what could not begin is kept for a while, or released.
    """

    may_start_until: float

    @property
    def may_wait(self) -> bool:
        """Whether the thread that delivers now may take its time."""
        ...

    def start(self, deliver: Deliver, lookup: Lookup, hear: Hear = nobody) -> None:
        """Be ready for calls; outcomes go to `deliver`, results of farther ancestors come from `lookup`.

        `hear` is told what attempts say while they run, from any thread and never after their outcome; it returns at once.
        """

    def submit(self, calls: list[StepCall]) -> None:
        """Take the calls; returns before they are done."""

    def room(self) -> int:
        """How many more calls are wanted now."""
        ...

    def cancel(self, call: StepCall) -> None:
        """Ask a running call to stop, and end it after the grace time where that is possible."""

    def standing(self) -> dict[str, Any] | None:
        """How the machines fare that run the handlers: `state` (connected, troubled, away), `at`, `said`, `workers`, `threads`; None when they run here."""

    def stop(self, grace: float) -> None:
        """Release what never started, wait up to `grace` seconds for the rest, then end and release that too."""
