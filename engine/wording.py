"""How states, times, durations and counts read in a sentence, on pages and in the terminal alike."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

LABELS = {
    "pending": "Pending",
    "ready": "Ready",
    "running": "Running",
    "retrying": "Retrying",
    "completed": "Completed",
    "failed": "Failed",
    "cancelled": "Cancelled",
    "skipped": "Skipped",
    "resolved": "Resolved",
}
_OF_A_NAME = re.compile(r"[/@_.\d]")


def label(state: str) -> str:
    """The word for a state as it begins a line: `Failed`."""
    return LABELS.get(state, str(state).capitalize())


def ago(at: datetime | None) -> str:
    """How long ago, in one unit: `4 min ago`; `in 8 s` when it is still to come."""
    if at is None:
        return "never"
    passed = (datetime.now(UTC) - at).total_seconds()
    return f"{seconds(passed)} ago" if passed >= 0 else f"in {seconds(-passed)}"


def seconds(length: float | timedelta | None) -> str:
    """A duration to two or three figures: `12 ms`, `1.4 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    if length is None:
        return "–"
    span = length.total_seconds() if isinstance(length, timedelta) else float(length)
    if span < 1:
        return f"{max(span, 0) * 1000:.0f} ms"
    return f"{span:.1f}".removesuffix(".0") + " s" if span < 10 else _in_two_units(round(span))


def _in_two_units(span: int) -> str:
    for size, unit, smaller, part in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if span >= size:
            rest = span % size // smaller
            return f"{span // size} {unit} {rest} {part}" if rest else f"{span // size} {unit}"
    return f"{span} s"


def count(number: int, cap: int = 10_000) -> str:
    """A count with thin spaces between thousands; above `cap` it was not counted to the end."""
    return f"{cap:,}+".replace(",", "\u202f") if number > cap else f"{number:,}".replace(",", "\u202f")


def plural(number: int, word: str) -> str:
    """`1 step`, `3 steps`."""
    return f"{count(number)} {word}" if number == 1 else f"{count(number)} {word}s"


def sentence(text: object) -> str:
    """The text beginning with a capital and ending with a full stop."""
    return ended(begun(str(text).strip()))


def begun(text: str) -> str:
    """The text beginning with a capital; a name that it begins with, such as `shop/order@1.0.0` or `run_at`, stays as it is."""
    first = text.partition(" ")[0].rstrip(".,:;!?")
    return text if _OF_A_NAME.search(first) else text[:1].upper() + text[1:]


def ended(text: str) -> str:
    """The text ending with a full stop, and otherwise as it is: the words of an error are its own."""
    return text if not text or text[-1] in ".!?" else f"{text}."
