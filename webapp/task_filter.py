"""The filter of the list of tasks in links: one part left out, and the tasks that a live list already shows."""

from __future__ import annotations

from dataclasses import replace

from engine.finding.task_filter import MAX_TASK_NO, MAX_TEXT, AskedFilter, ContextValue, TaskFilter, read_filter

__all__ = ["MAX_TASK_NO", "MAX_TEXT", "AskedFilter", "ContextValue", "TaskFilter", "read_filter", "read_shown", "without"]

MAX_SHOWN = 50


def without(chosen: TaskFilter, name: str) -> dict[str, str]:
    """The query parameters of the same filter with one part left out, for the link that removes it."""
    return replace(chosen, **{name: None}).parameters()


def read_shown(text: str | None) -> list[int]:
    """The numbers of the tasks that a live list already shows; nothing else of the text counts."""
    numbers = [int(part) for part in (text or "").split(",")[:MAX_SHOWN] if part.isascii() and part.isdigit() and len(part) < 20]
    return [number for number in numbers if number <= MAX_TASK_NO]
