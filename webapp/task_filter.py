"""The filter of the list of tasks in links: one part left out, and the tasks that a live list already shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from engine.finding.task_filter import MAX_TASK_NO, MAX_TEXT, TIMES, AskedFilter, ContextValue, TaskFilter, read_filter
from webapp.filters import local_text, reader_zone

__all__ = ["MAX_TASK_NO", "MAX_TEXT", "AskedFilter", "ContextValue", "TaskFilter", "asked_filter", "read_filter", "read_shown", "without"]

MAX_SHOWN = 50


def asked_filter(arguments: Mapping[str, str]) -> AskedFilter:
    """The filter that a reader asks for: times are typed, and stand in their fields, in the zone that the reader's pages show; links name UTC."""
    asked = read_filter(arguments, reader_zone())
    times = {name: local_text(at) for name in TIMES if (at := getattr(asked.chosen, name)) is not None}
    return replace(asked, typed=asked.typed | times)


def without(chosen: TaskFilter, name: str) -> dict[str, str]:
    """The query parameters of the same filter with one part left out, for the link that removes it."""
    return replace(chosen, **{name: None}).parameters()


def read_shown(text: str | None) -> list[int]:
    """The numbers of the tasks that a live list already shows; nothing else of the text counts."""
    numbers = [int(part) for part in (text or "").split(",")[:MAX_SHOWN] if part.isascii() and part.isdigit() and len(part) < 20]
    return [number for number in numbers if number <= MAX_TASK_NO]
