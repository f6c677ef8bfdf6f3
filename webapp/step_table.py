"""Which of a task's steps its table shows: those in one state, those slower than usual, or all, a page at a time. The graph and the counts have all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from flask import request, url_for

from engine.rows import StepRow
from engine.states import StepState
from webapp.drawing import LOUDEST_FIRST

ROWS_SHOWN = 100
STATES_OFFERED_FROM = 50
"""In a table of fewer steps the eye is as quick as a filter."""


@dataclass(frozen=True, slots=True)
class AskedSteps:
    """What the reader asked the table for: steps in this state, or in any, from this place on; with `slower` those alone that take longer than usual."""

    state: str | None = None
    first: int = 0
    slower: bool = False

    @property
    def is_narrowed(self) -> bool:
        """Whether some steps are left out."""
        return self.slower or self.state is not None


ALL_STEPS = AskedSteps()


@dataclass(frozen=True, slots=True)
class StateChoice:
    """A state that steps are in, how many, and the page that shows those alone."""

    state: str
    count: int
    url: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class StepTable:
    """The rows that are shown, from the place `first` of `count`; `more_items` tells behind which row how many items of which map step are left out."""

    rows: tuple[StepRow, ...]
    asked: AskedSteps
    count: int
    choices: tuple[StateChoice, ...]
    all_url: str
    slower_url: str
    slower_count: int
    earlier: str | None
    later: str | None
    more_items: dict[str, tuple[str, int]]

    @property
    def words(self) -> str:
        """`101 to 200 of 1,001`, where it does not show all at once."""
        return f"{self.asked.first + 1:,} to {self.asked.first + len(self.rows):,} of {self.count:,}"


def read_asked() -> AskedSteps:
    """What this request asks for; an update asks for what its page showed, and what makes no sense for everything from the start."""
    given = _parameters()
    state, first = given.get("steps", ""), given.get("steps_from", "")
    known = state if state in list(StepState) else None
    return AskedSteps(known, int(first) if first.isascii() and first.isdigit() and len(first) < 8 else 0, given.get("slower") == "step")


def _parameters() -> Mapping[str, str]:
    if request.method == "GET":
        return request.args
    shown = urlsplit(request.headers.get("HX-Current-URL", ""))  # the page from which an action was sent
    return {name: values[-1] for name, values in parse_qs(shown.query).items()}


def step_table(task_id: str, steps: Sequence[StepRow], asked: AskedSteps, slow: Collection[str] = ()) -> StepTable:
    """The rows that were asked for, and ways to the others; `slow` names the steps that take longer than usual."""
    chosen = [step for step in steps if asked.state in (None, step.state) and (not asked.slower or step.name in slow)]
    first = min(asked.first, max(0, len(chosen) - 1)) // ROWS_SHOWN * ROWS_SHOWN
    asked = replace(asked, first=first)
    return StepTable(
        rows=tuple(chosen[first : first + ROWS_SHOWN]),
        asked=asked,
        count=len(chosen),
        choices=_choices(task_id, steps, asked) if len(steps) >= STATES_OFFERED_FROM or asked.is_narrowed else (),
        all_url=_url(task_id, AskedSteps()),
        slower_url=_url(task_id, AskedSteps(slower=True)),
        slower_count=len(slow),
        earlier=_url(task_id, replace(asked, first=first - ROWS_SHOWN)) if first else None,
        later=_url(task_id, replace(asked, first=first + ROWS_SHOWN)) if first + ROWS_SHOWN < len(chosen) else None,
        more_items={} if asked.is_narrowed else more_items(steps),
    )


def row_urls(task_id: str, steps: Sequence[StepRow], shown: AskedSteps) -> dict[int, str]:
    """Where the row of each step is found, by its number: in the table that is shown, or on another page of it."""
    pages = [_url(task_id, AskedSteps(None, first), "") for first in range(0, len(steps), ROWS_SHOWN)]
    here = -1 if shown.is_narrowed else shown.first // ROWS_SHOWN
    found = ((step.step_no, place // ROWS_SHOWN) for place, step in enumerate(steps))
    return {number: f"{'' if page == here else pages[page]}#step-{number}" for number, page in found}


def parameters(asked: AskedSteps) -> dict[str, Any]:
    """As they stand in an address; nothing for all steps from the start."""
    return {"steps": asked.state, "steps_from": asked.first or None, "slower": "step" if asked.slower else None}


def _url(task_id: str, asked: AskedSteps, anchor: str = "task-steps") -> str:
    return url_for("tasks.show", task_id=task_id, _anchor=anchor or None, **parameters(asked))


def _choices(task_id: str, steps: Sequence[StepRow], asked: AskedSteps) -> tuple[StateChoice, ...]:
    counts = Counter(step.state for step in steps)
    return tuple(StateChoice(state, counts[state], _url(task_id, AskedSteps(state)), state == asked.state) for state in LOUDEST_FIRST if counts[state])


def more_items(steps: Sequence[StepRow]) -> dict[str, tuple[str, int]]:
    """For each map step of which not all items are among the steps, by the last row that is: its name and how many more there are."""
    last: dict[str, tuple[str, int]] = {}
    for step in steps:
        if step.item_states is not None:
            last[step.name] = step.name, 0
        elif step.item_of is not None:
            last[step.item_of] = step.name, last[step.item_of][1] + 1
    counts = {step.name: step.item_count for step in steps}
    return {row: (name, counts[name] - shown) for name, (row, shown) in last.items() if counts[name] > shown}
