"""How long steps take, learnt from what they took: decides how many calls a child gets ahead and how many the engine claims."""

from __future__ import annotations

from typing import Final

from engine.definition import TaskDefinition

NEWEST: Final = 0.2  # weight of the newest duration
SETTLED: Final = 20  # durations after which the mean over all steps has forgotten the earlier ones
QUICKEST_SECONDS: Final = 2e-5  # handing a call over costs that much, however quick the handler


class Pace:
    """What is known of one definition's steps, by step number; None for a step that never ran here."""

    __slots__ = ("definition", "key", "seconds", "timeouts")

    def __init__(self, definition: TaskDefinition) -> None:
        self.definition = definition
        self.key = definition.key
        self.timeouts = [step.timeout for step in definition.steps]
        self.seconds: list[float | None] = [None] * len(definition.steps)

    def learn(self, step_no: int, nanoseconds: int) -> None:
        """Takes one measured duration into account."""
        known = self.seconds[step_no]
        new = nanoseconds * 1e-9
        self.seconds[step_no] = new if known is None else known + NEWEST * (new - known)


class Paces:
    """The paces of all definitions, and `mean`: what a step took lately, whichever it was; 0.0 before the first."""

    def __init__(self) -> None:
        self._by_id: dict[int, Pace] = {}
        self.mean = 0.0

    def of(self, definition: TaskDefinition) -> Pace:
        """The pace of that very object; definitions are compared by content, which is too slow for every call."""
        pace = self._by_id.get(id(definition))
        if pace is None:
            pace = self._by_id[id(definition)] = Pace(definition)
        return pace

    def learn(self, nanoseconds: int, count: int) -> None:
        """Takes `count` durations, together `nanoseconds`, into account."""
        if not count:
            return
        new = nanoseconds * 1e-9 / count
        self.mean += (new - self.mean) * (min(1.0, count / SETTLED) if self.mean else 1.0)

    def how_many(self, seconds: float) -> int:
        """How many steps of the usual kind fit into that time; 0 while nothing is known."""
        return int(seconds / max(self.mean, QUICKEST_SECONDS)) if self.mean else 0
