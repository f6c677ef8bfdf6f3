"""What narrows a list of tasks: query parameters read, checked, and written back. The dashboard, its API and kept views ask by it; needs no database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from engine import json_text
from engine.errors import RequestError
from engine.hiding.redaction import masked
from engine.measures.standing import STUCK
from engine.states import TaskState
from engine.timing import interval_seconds, interval_text

MAX_TEXT = 200
MAX_TASK_NO = 2**63 - 1
LONGEST_WITHIN = timedelta(days=366)
TIMES = ("created_from", "created_to")
TIME_FORM = "It reads like 2026-01-31T08:30."


@dataclass(frozen=True, slots=True)
class ContextValue:
    """A value that the context must have at a place: `customer.id=42`, or `lines[].sku=A1` for any entry of a list."""

    path: tuple[str, ...]
    value: str

    @property
    def text(self) -> str:
        """As it is typed."""
        return f"{'.'.join(self.path)}={self.value}"

    @property
    def documents(self) -> list[dict[str, Any]]:
        """The JSON objects of which the context must hold one: `42` may be a number as well as a text."""
        read = _read_json(self.value)
        values = [self.value] if read is None or isinstance(read[0], str) and read[0] == self.value else [read[0], self.value]
        return [_nested(self.path, value) for value in values]


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """What a list is narrowed to; None or empty where it is not. `cursor` is the number of the last task already shown.

    `stuck` is a reason of `engine.measures.standing.STUCK`, or `any` of them; `slower` is `yes` for tasks that run or ran longer than 95 of 100 of their version. `within` is the age of the oldest task, and moves with the clock.
    """

    namespace: str | None = None
    name: str | None = None
    version: str | None = None
    state: str | None = None
    stuck: str | None = None
    slower: str | None = None
    tag: str | None = None
    initiator: str | None = None
    q: str | None = None
    context: ContextValue | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    within: timedelta | None = None
    cursor: int | None = None

    def parameters(self) -> dict[str, str]:
        """The query parameters that make this filter, without the cursor."""
        written = {one.name: _written(getattr(self, one.name)) for one in fields(self) if one.name != "cursor"}
        return {name: text for name, text in written.items() if text}


@dataclass(frozen=True, slots=True)
class AskedFilter:
    """A filter as it was asked for: what could be read of it, every field as it was typed, and what is wrong with a field."""

    chosen: TaskFilter
    typed: dict[str, str]
    problems: dict[str, str] = field(default_factory=dict)


def read_filter(arguments: Mapping[str, str], zone: tzinfo = UTC) -> AskedFilter:
    """The filter that query parameters ask for; times that name no zone are in that one. A value that cannot be read narrows nothing; it is kept as typed, with a sentence on it."""
    typed = {one.name: _text(arguments.get(one.name)) for one in fields(TaskFilter)}
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, text in typed.items():
        try:
            values[name] = None if not text else _time(text, zone) if name in TIMES else READERS.get(name, str)(text)
        except ValueError as problem:
            problems[name] = str(problem)
    return AskedFilter(TaskFilter(**values), typed, problems)


def _text(given: str | None) -> str:
    # PostgreSQL refuses NUL in a text; no stored name holds one, so a search for it may simply find less.
    return (given or "").replace("\x00", "").strip()[:MAX_TEXT]


def _state(text: str) -> str:
    if text not in set(TaskState):
        raise ValueError(f"There is no task state “{text}”.")
    return text


def _slower(text: str) -> str:
    if text != "yes":
        raise ValueError("It is yes, or left out.")
    return text


def _stuck(text: str) -> str:
    if text not in ("any", *STUCK):
        raise ValueError(f"No task is stuck for the reason “{text}”.")
    return text


def _time(text: str, zone: tzinfo) -> datetime:
    try:
        read = datetime.fromisoformat(text)
        return (read if read.tzinfo else read.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"“{text}” is no time. {TIME_FORM}") from None


def _within(text: str) -> timedelta:
    seconds = interval_seconds(text)
    if not 0 < seconds <= LONGEST_WITHIN.total_seconds():
        raise ValueError("It reads like 1h, 90m or 7d, a year at most.")
    return timedelta(seconds=seconds)


def _cursor(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError("This link to older tasks is damaged; the list begins at the newest.")
    return min(int(text), MAX_TASK_NO)


def _context(text: str) -> ContextValue:
    place, equals, value = text.partition("=")
    path = tuple(part.strip() for part in place.split("."))
    if not equals or not all(part.removesuffix("[]") for part in path):
        raise ValueError("It reads like customer.id=42, or lines[].sku=A1 for an entry of a list.")
    wanted = ContextValue(path, value.strip())
    if any(masked(document) != document for document in wanted.documents):
        raise ValueError("That field is secret: it cannot be searched for.")
    return wanted


READERS: Mapping[str, Callable[[str], Any]] = {
    "state": _state,
    "stuck": _stuck,
    "slower": _slower,
    "context": _context,
    "within": _within,
    "cursor": _cursor,
}


def _nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    held = value
    for part in reversed(path):
        held = {part.removesuffix("[]"): [held] if part.endswith("[]") else held}
    return dict(held)


def _read_json(text: str) -> tuple[Any] | None:
    """The value of a JSON text, alone in a tuple; None for what is not JSON, or nothing that a context may hold."""
    try:
        return (json_text.read_input(text),)
    except RequestError:
        return None


def _written(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%MZ}"
    if isinstance(value, timedelta):
        return interval_text(int(value.total_seconds()))
    return value.text if isinstance(value, ContextValue) else value or ""
