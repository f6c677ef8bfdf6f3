"""Two tasks beside each other: inputs, and each step's state, attempts, result and time, with where they first part. Decided without a database.

`here` is the task that is looked at, `there` the one that it is compared with; a change leads from there to here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import islice
from typing import Any

from engine.rows import StepRow, TaskDetail
from webapp.diff_drawing import steps_graph
from webapp.drawing import Graph
from webapp.filters import label, plural
from webapp.version_diff import Change, StepDiff, merged, shown
from webapp.why import error_line

WORDS = {"added": "Only here", "removed": "Only there", "rewired": "Different", "changed": "Different", "same": "Same"}
PLACES_SHOWN = 100
PLACES_OF_A_STEP = 5
ROWS_SHOWN = 200
FASTER, LEAST_SECONDS = 1.5, 0.05
"""From which ratio, and which difference, on a time is worth a word."""
ABSENT = object()
WENT = {
    "pending": "has not started",
    "ready": "waits for an engine",
    "running": "still runs",
    "retrying": "waits for its next attempt",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "was cancelled",
    "skipped": "was skipped",
    "resolved": "was resolved by hand",
}


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two tasks with the results of its steps, both as they may be shown."""

    detail: TaskDetail
    results: Mapping[str, Any]

    @property
    def steps(self) -> dict[str, StepRow]:
        """Its steps by name, without the items of map steps."""
        return {step.name: step for step in self.detail.steps if step.item_of is None}

    def offset(self, at: datetime | None) -> float:
        """How long after the making of the task, in seconds; without an end for what has not been."""
        return (at - self.detail.task.created_at).total_seconds() if at else float("inf")


@dataclass(frozen=True, slots=True)
class StepPair:
    """One step in both tasks; `kind` is same, changed, added (only here) or removed (only there)."""

    name: str
    kind: str
    here: StepRow | None
    there: StepRow | None
    changes: tuple[Change, ...]
    outcome_differs: bool
    result_differs: bool
    order: float

    @property
    def drawn(self) -> StepDiff:
        """As the picture of two versions has it."""
        parents = [step.parents if step else () for step in (self.there, self.here)]
        return StepDiff(self.name, self.kind, parents[0], parents[1], self.changes)

    @property
    def pace(self) -> str:
        """`3.2× as long` or `0.3× as long` as there; empty where the times are much the same."""
        took = [step.duration_seconds if step else None for step in (self.here, self.there)]
        if took[0] is None or took[1] is None or abs(took[0] - took[1]) < LEAST_SECONDS:
            return ""
        ratio = took[0] / max(took[1], 0.001)
        if 1 / FASTER < ratio < FASTER:
            return ""
        return f"{ratio:.2g}× as long" if ratio < 100 else "over 99× as long"


@dataclass(frozen=True)
class Comparison:
    """Both tasks, every step of either in an order in which they depend on each other, and up to PLACES_SHOWN of the `place_count` places where the inputs differ."""

    here: Side
    there: Side
    steps: tuple[StepPair, ...]
    inputs: tuple[Change, ...]
    place_count: int

    @cached_property
    def graph(self) -> Graph | None:
        """Both on one graph; None for more steps than are drawn."""
        return steps_graph([step.drawn for step in self.steps], WORDS)

    @property
    def different(self) -> list[StepPair]:
        """The steps that are not the same."""
        return [step for step in self.steps if step.kind != "same"]

    @property
    def rows(self) -> list[tuple[int, StepPair]]:
        """What the table shows, each with its place: every step, or of many those that differ, up to ROWS_SHOWN."""
        numbered = list(enumerate(self.steps))
        wanted = numbered if len(numbered) <= ROWS_SHOWN else [each for each in numbered if each[1].kind != "same"]
        return wanted[:ROWS_SHOWN]

    @property
    def sentence(self) -> str:
        """Where the two first part, in the order of time, in one sentence."""
        in_time = sorted(self.steps, key=lambda step: step.order)
        outcome = next((step for step in in_time if step.outcome_differs), None)
        result = next((step for step in in_time if step.result_differs), None)
        return f"{self._inputs_in_words}, {_parting(outcome, result, in_time)}"

    @property
    def _inputs_in_words(self) -> str:
        if not self.inputs:
            return "With the same input"
        more = f" and {self.place_count - 1:,} more" if self.place_count > 1 else ""
        return f"With another input ({self.inputs[0].what}{more})"


def comparison(here: Side, there: Side) -> Comparison:
    """The two beside each other. Steps are the same when they bear the same name."""
    ours, theirs = here.steps, there.steps
    names = merged(list(theirs), list(ours))
    steps = tuple(_pair(name, here, there, ours.get(name), theirs.get(name)) for name in names)
    places = list(differences(there.detail.context, here.detail.context))
    return Comparison(here, there, steps, tuple(places[:PLACES_SHOWN]), len(places))


def _pair(name: str, here: Side, there: Side, ours: StepRow | None, theirs: StepRow | None) -> StepPair:
    order = min(side.offset(step.finished_at or step.started_at) if step else float("inf") for side, step in ((here, ours), (there, theirs)))
    if ours is None or theirs is None:
        return StepPair(name, "added" if ours else "removed", ours, theirs, (), True, False, order)
    outcome = _changes((("state", label(theirs.state), label(ours.state)), ("error", _error(theirs), _error(ours)), ("items", _items(theirs), _items(ours))))
    results = list(differences(there.results[name], here.results[name], "result")) if name in here.results and name in there.results else []
    tried = (str(theirs.attempts), str(ours.attempts)) if theirs.attempts and ours.attempts else ("", "")
    rest = _changes((("attempts", *tried), ("depends on", ", ".join(theirs.parents), ", ".join(ours.parents))))
    changes = (*outcome, *results[:PLACES_OF_A_STEP], *_more(results), *rest)
    return StepPair(name, "changed" if changes else "same", ours, theirs, changes, bool(outcome), bool(results), order)


def _changes(compared: Iterable[tuple[str, str, str]]) -> tuple[Change, ...]:
    return tuple(Change(what, old or "none", new or "none") for what, old, new in compared if old != new)


def _more(results: Sequence[Change]) -> tuple[Change, ...]:
    rest = results[PLACES_OF_A_STEP:]
    return (Change(f"{plural(len(rest), 'more place')} of the result", "…", "…"),) if rest else ()


def _error(step: StepRow) -> str:
    return error_line(step.error) if step.state in ("failed", "retrying") else ""


def _items(step: StepRow) -> str:
    return ", ".join(f"{number:,} {state}" for state, number in sorted((step.item_states or {}).items()))


def differences(old: Any, new: Any, path: str = "") -> Iterable[Change]:
    """Every place where two JSON values differ, by its path: `lines[2].sku`."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in (*old, *(key for key in new if key not in old)):
            yield from differences(old.get(key, ABSENT), new.get(key, ABSENT), f"{path}.{key}" if path else str(key))
    elif isinstance(old, list) and isinstance(new, list):
        for number in range(max(len(old), len(new))):
            yield from differences(_at(old, number), _at(new, number), f"{path}[{number}]")
    elif type(old) is not type(new) or old != new:
        yield Change(path or "input", *("nothing" if value is ABSENT else shown(value) for value in (old, new)))


def _at(values: Sequence[Any], number: int) -> Any:
    return values[number] if number < len(values) else ABSENT


def _parting(outcome: StepPair | None, result: StepPair | None, in_time: Sequence[StepPair]) -> str:
    if outcome is None and result is None:
        again = next((step for step in in_time if step.kind != "same"), None)
        return "every step went the same way." if again is None else f"every step ended alike; {again.name} is the first that differs at all, in {' and '.join(islice((change.what for change in again.changes), 2))}."
    if outcome is None:
        return f"every step ended alike; the results differ first at {result.name if result else ''}."
    before = f" Before it, the result of {result.name} differs." if result and result.order < outcome.order else ""
    return f"the two part at {outcome.name}: {_ways(outcome)}.{before}"


def _ways(step: StepPair) -> str:
    if step.here is None or step.there is None:
        return f"only {'the other task' if step.here is None else 'this task'} has that step"
    return f"here it {_went(step.here)}, there it {_went(step.there)}"


def _went(step: StepRow) -> str:
    error = _error(step)
    return f"{WENT[step.state]}{f' with “{error}”' if error else ''}"
