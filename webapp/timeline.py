"""When each step of a task waited, ran and backed off: the moves of its history made into bars. `/tasks/<id>/timeline` draws them.

Places are percentages of the whole span, so that the picture fits any width. Decided without a database.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from markupsafe import Markup

from engine.rows import MoveRow, StepRow, TaskRow
from webapp.critical_path import telling_path
from webapp.filters import seconds

NARROWEST = 0.35
TICKS = 5
STEPS_OF_TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)

# What a step was doing between two moves, by the state it was in.
KINDS = {"ready": "queue", "running": "run", "retrying": "backoff"}
WORDS = {"queue": "in the queue", "run": "ran", "backoff": "backed off"}


@dataclass(frozen=True, slots=True)
class Bar:
    """One stretch of a step: `kind` is queue, run or backoff; `outcome` is the state it led to, or running while it lasts."""

    kind: str
    outcome: str
    attempt: int | None
    left: float
    width: float
    words: str


@dataclass(frozen=True, slots=True)
class Lane:
    """One line of the timeline; times in seconds, None when the step has none of that kind."""

    step: StepRow
    bars: tuple[Bar, ...]
    begins: float | None
    queued: float | None
    ran: float | None
    backed_off: float | None
    is_critical: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on the scale: its place and how long after the beginning it is."""

    left: float
    words: str


@dataclass(frozen=True)
class Timeline:
    """Every step of a task along one scale that begins when its first step became ready."""

    begins_at: datetime
    length: float
    lanes: tuple[Lane, ...]
    ticks: tuple[Tick, ...]
    critical: tuple[str, ...]
    critical_seconds: float

    @cached_property
    def grid(self) -> Markup:
        """The marks of the scale as lines behind the bars of a lane; the same in each."""
        line = Markup('<line class="tick" x1="{0}%" x2="{0}%" y1="0" y2="18"/>')
        return Markup("").join(line.format(tick.left) for tick in self.ticks)


@dataclass(frozen=True, slots=True)
class _Stretch:
    state: str
    began: datetime
    ended: datetime
    outcome: str
    attempt: int | None
    engine: str | None


def timeline(task: TaskRow, steps: Sequence[StepRow], moves: Sequence[MoveRow], now: datetime) -> Timeline:
    """The timeline as it is at `now`; a task that is over ends with its last move."""
    ends_at = max(task.finished_at or now, task.created_at)
    stretches = _stretches(steps, moves, task.created_at, ends_at)
    begins_at = min((each.began for known in stretches for each in known), default=task.created_at)
    length = max((ends_at - begins_at).total_seconds(), 0.001)
    critical = telling_path(steps)
    scale = _Scale(begins_at, length)
    lanes = tuple(_lane(step, found, scale, step.name in critical) for step, found in zip(steps, stretches, strict=True))
    return Timeline(begins_at, length, lanes, _ticks(length), critical, sum(lane.ran or 0 for lane in lanes if lane.is_critical))


def _stretches(
    steps: Sequence[StepRow], moves: Sequence[MoveRow], created_at: datetime, ends_at: datetime
) -> list[list[_Stretch]]:
    of_step: list[list[MoveRow]] = [[] for _ in steps]
    for move in moves:
        of_step[move.step_no].append(move)
    return [list(_of_one(step, of_step[step.step_no], created_at, ends_at)) for step in steps]


def _of_one(step: StepRow, moves: Sequence[MoveRow], created_at: datetime, ends_at: datetime) -> Iterable[_Stretch]:
    """A stretch from each move to the next. A root is ready from its creation on, which no move of its own tells."""
    since, attempt, engine = created_at, None, None
    state = "pending" if step.parents else "ready"
    for move in moves:
        at = max(move.at, since)
        if state in KINDS and (at > since or state == "running"):
            yield _Stretch(state, since, at, move.to_state, attempt or move.attempt, engine)
        since, state, attempt, engine = at, move.to_state, move.attempt, move.engine
    if state in KINDS and step.finished_at is None and (moves or not step.parents):
        yield _Stretch(state, since, max(ends_at, since), step.state, attempt, engine)


@dataclass(frozen=True, slots=True)
class _Scale:
    begins_at: datetime
    length: float

    def place(self, began: datetime, ended: datetime) -> tuple[float, float]:
        """Left and width in percent; never too narrow to be seen, never past the right edge."""
        width = max(100 * (ended - began).total_seconds() / self.length, NARROWEST)
        left = 100 * (began - self.begins_at).total_seconds() / self.length
        return round(min(left, 100 - NARROWEST), 2), round(min(width, 100 - min(left, 100 - NARROWEST)), 2)


def _lane(step: StepRow, found: Sequence[_Stretch], scale: _Scale, is_critical: bool) -> Lane:
    begins = (found[0].began - scale.begins_at).total_seconds() if found else None
    sums = {state: _total(each for each in found if each.state == state) for state in KINDS}
    bars = tuple(_bar(each, scale) for each in found)
    return Lane(step, bars, begins, sums["ready"], sums["running"], sums["retrying"], is_critical)


def _total(found: Iterable[_Stretch]) -> float | None:
    lengths = [each.ended - each.began for each in found]
    return sum(lengths, timedelta()).total_seconds() if lengths else None


def _bar(found: _Stretch, scale: _Scale) -> Bar:
    left, width = scale.place(found.began, found.ended)
    kind = KINDS[found.state]
    return Bar(kind, found.outcome, found.attempt, left, width, _words(found, kind))


def _words(found: _Stretch, kind: str) -> str:
    """What the bar says when it is pointed at: `attempt 2 on alpha: ran 3.1 s, failed`."""
    took = f"{WORDS[kind]} {seconds(found.ended - found.began)}"
    if kind != "run":
        return took
    where = f" on {found.engine}" if found.engine else ""
    return f"attempt {found.attempt or 1}{where}: {took}, {'still running' if found.outcome == 'running' else found.outcome}"


def _ticks(length: float) -> tuple[Tick, ...]:
    """Three to six marks at round times."""
    step = _round_step(length / TICKS)
    return tuple(Tick(round(100 * step * no / length, 2), seconds(step * no) if no else "0") for no in range(int(length / step) + 1))


def _round_step(rough: float) -> float:
    if rough < 1:
        size = 0.001
        while size * 10 <= rough:
            size *= 10
        return float(next(size * many for many in (1, 2, 5, 10) if size * many >= rough))
    days = 86400.0
    return float(next((known for known in STEPS_OF_TICKS if known >= rough), days * -(-rough // days)))
