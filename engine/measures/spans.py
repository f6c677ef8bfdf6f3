"""Ranges of time as analytics asks for them: rounded to what the roll-ups keep, and cut into as few of their spans as cover them. Decided without a database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum

MINUTES_KEPT = timedelta(days=2)
HOURS_KEPT = timedelta(days=400)
LONG = timedelta(days=31)
SLACK = timedelta(hours=1)
"""How much earlier than they are forgotten minutes and hours are not asked for any more: nothing goes while it is read."""

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
PERIODS = {"hour": HOUR, "4hours": 4 * HOUR, "day": DAY, "week": 7 * DAY, "month": 30 * DAY, "quarter": 90 * DAY}
SLOTS = ((MINUTE, 62), (5 * MINUTE, 62), (HOUR, 100), (6 * HOUR, 62), (DAY, 100), (7 * DAY, 100), (28 * DAY, 100), (364 * DAY, 100))
"""How long a bar of a chart may be, and how many of that length are drawn at most: of short ones fewer, as they are put together from minutes."""
EPOCH = datetime(2001, 1, 1, tzinfo=UTC)


class Grain(IntEnum):
    """How long a span of the roll-ups is; `tasker_task_rollup` has the same numbers."""

    MINUTE = 0
    HOUR = 1
    DAY = 2


LENGTHS = {Grain.MINUTE: MINUTE, Grain.HOUR: HOUR, Grain.DAY: DAY}


@dataclass(frozen=True, slots=True)
class Piece:
    """Spans of one grain that begin from `from_at` on and before `to_at`."""

    grain: Grain
    from_at: datetime
    to_at: datetime


@dataclass(frozen=True, slots=True)
class Range:
    """From a moment up to another, both at the border of a span; `slot` is how long a bar of its chart is. `to_at` may be a minute in the future.

    `pieces` cover it; of a range up to now the last one reaches as far as it is long, as nothing is counted of the time to come.
    """

    from_at: datetime
    to_at: datetime
    slot: timedelta
    pieces: tuple[Piece, ...]

    @property
    def slots(self) -> list[datetime]:
        """When each slot begins; the first and the last may be covered in part."""
        first = floor(self.from_at, self.slot)
        return [first + number * self.slot for number in range(-(-(self.to_at - first) // self.slot))]


def last(length: timedelta, now: datetime) -> Range:
    """The time up to now, as long as asked for, and up to a minute or, where only hours are kept, an hour longer."""
    return between(now - length, now, now)


def between(from_at: datetime, to_at: datetime, now: datetime) -> Range:
    """The range, widened to the borders of what is kept for its time, and a long one to begin with a day; what is to come is left out.

    At least one span is in it.
    """
    from_at = min(from_at, now)
    begin = floor(from_at, DAY if min(to_at, now) - from_at > LONG else _kept(from_at, now))
    end = ceiling(min(to_at, now), _kept(to_at, now))
    end = max(end, begin + _kept(begin, now))
    slot = next((length for length, most in SLOTS if (end - begin) / length <= most and length >= _kept(begin, now)), SLOTS[-1][0])
    coarsest = max(grain for grain, length in LENGTHS.items() if length <= slot)
    return Range(begin, end, slot, tuple(_pieces(begin, ceiling(end, LENGTHS[coarsest]) if end >= now else end, coarsest)))


def floor(at: datetime, length: timedelta) -> datetime:
    """When the span of that length begins in which the moment lies."""
    return at - (at - EPOCH) % length


def ceiling(at: datetime, length: timedelta) -> datetime:
    """The first border of spans of that length at or after the moment."""
    return floor(at + length - timedelta(microseconds=1), length)


def _kept(at: datetime, now: datetime) -> timedelta:
    """The shortest span that is kept of that time."""
    if at >= now - MINUTES_KEPT + SLACK:
        return MINUTE
    return HOUR if at >= now - HOURS_KEPT + SLACK else DAY


def _pieces(begin: datetime, end: datetime, grain: Grain) -> Iterator[Piece]:
    """What is covered by whole spans of the grain, and the rest on both sides by shorter ones."""
    if begin >= end:
        return
    first, behind = ceiling(begin, LENGTHS[grain]), floor(end, LENGTHS[grain])
    if first < behind:
        yield from _pieces(begin, first, Grain(max(grain - 1, 0)))
        yield Piece(grain, first, behind)
        yield from _pieces(behind, end, Grain(max(grain - 1, 0)))
    else:
        yield from _pieces(begin, end, Grain(grain - 1))
