"""Charts of slots of time as SVG: how many tasks ended in which way, and how long they ran. Words and figures stand beside them, so that they may be of any width.

A picture stretches to its place; nothing in it is text. Decided without a database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from markupsafe import Markup

from engine.measures.figures import Ends, Slot
from webapp.filters import plural, reader_zone, seconds

WIDTH, HEIGHT = 1000, 160
GAP = 0.16
"""The share of a slot's width that stays empty beside its bar."""
LEAST = 1.5
WAYS = ("completed", "resolved", "cancelled", "failed")
UNITS = ((364, "year"), (28, "four weeks"), (7, "week"), (1, "day"))


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture with what stands beside it: its scale's upper end, the times below it, and the whole as one sentence."""

    drawn: Markup
    top: str
    times: tuple[str, str]
    summary: str


def ends_chart(slots: Sequence[Slot], slot: timedelta) -> Chart | None:
    """Tasks that ended, in bars by how they ended; None where none did."""
    most = max((each.ends.ended_count for each in slots), default=0)
    if not most:
        return None
    busiest = next(each for each in slots if each.ends.ended_count == most)
    total = sum(each.ends.ended_count for each in slots)
    summary = f"Tasks that ended by {unit(slot)}: {plural(total, 'task')} in all, at most {most}, at {when(busiest.begins_at, slot)}."
    return _chart(slots, slot, plural(most, "task"), summary, lambda each: _ways(each.ends, most), lambda each: ends_words(each.ends))


def durations_chart(slots: Sequence[Slot], slot: timedelta) -> Chart | None:
    """How long completed tasks ran: from the median to what 95 of 100 stay below; None where none completed."""
    longest = max((each.took.p95 or 0 for each in slots), default=0)
    if not longest:
        return None
    slowest = next(each for each in slots if each.took.p95 == longest)
    summary = f"How long completed tasks ran by {unit(slot)}, from the median to what 95 of 100 stay below: at most {seconds(longest)}, at {when(slowest.begins_at, slot)}."
    return _chart(slots, slot, seconds(longest), summary, lambda each: _lengths(each, longest), took_words)


def unit(slot: timedelta) -> str:
    """A slot's length in words: `hour`, `5 min`, `day`."""
    for days, word in UNITS:
        if slot >= timedelta(days=days):
            return word
    return {3600: "hour", 60: "minute"}.get(int(slot.total_seconds()), seconds(slot))


def when(at: datetime, slot: timedelta) -> str:
    """When a slot begins: for days the date, which is one of UTC as days are."""
    if slot >= timedelta(days=1):
        return f"{at.astimezone(UTC):%d %b %Y}"
    return f"{at.astimezone(reader_zone()):%d %b %H:%M}"


def ends_words(ends: Ends) -> str:
    """`12 completed, 1 failed`."""
    found = [f"{number} {way}" for way in WAYS if (number := getattr(ends, f"{way}_count"))]
    return ", ".join(found) or "none ended"


def took_words(slot: Slot) -> str:
    """`median 1.2 s, 95 of 100 within 3 s`."""
    return f"median {seconds(slot.took.p50)}, 95 of 100 within {seconds(slot.took.p95)}" if slot.took.count else "none completed"


Part = tuple[str, float, float]
"""The class of a rectangle, and its lower and upper edge as shares of the height."""


def _ways(ends: Ends, most: int) -> Iterator[Part]:
    low = 0.0
    for way in WAYS:
        if number := getattr(ends, f"{way}_count"):
            yield f"state-{way}", low, low + number / most
            low += number / most


def _lengths(slot: Slot, longest: float) -> Iterator[Part]:
    if slot.took.p50 is not None and slot.took.p95 is not None:
        yield "most", 0, slot.took.p95 / longest
        yield "half", 0, slot.took.p50 / longest


def _chart(
    slots: Sequence[Slot], slot: timedelta, top: str, summary: str, parts: Callable[[Slot], Iterator[Part]], words: Callable[[Slot], str]
) -> Chart:
    width = WIDTH / len(slots)
    bars = (_bar(list(parts(each)), place * width, width, f"{when(each.begins_at, slot)}: {words(each)}") for place, each in enumerate(slots))
    return Chart(Markup("").join(bars), top, (when(slots[0].begins_at, slot), when(slots[-1].begins_at, slot)), summary)


def _bar(parts: Sequence[Part], left: float, width: float, words: str) -> Markup:
    if not parts:
        return Markup("")
    rects = (_rect(kind, left + width * GAP / 2, width * (1 - GAP), low, high) for kind, low, high in parts)
    return Markup("<g><title>{0}</title>{1}</g>").format(words, Markup("").join(rects))


def _rect(kind: str, left: float, width: float, low: float, high: float) -> Markup:
    height = max((high - low) * HEIGHT, LEAST)
    box = Markup('<rect class="{0}" x="{1:.1f}" y="{2:.1f}" width="{3:.1f}" height="{4:.1f}"/>')
    return box.format(kind, left, max(HEIGHT - low * HEIGHT - height, 0), width, height)
