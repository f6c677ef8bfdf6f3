"""How commands print: tables for people, one JSON document for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table

STATE_STYLES = {
    "pending": "dim",
    "ready": "cyan",
    "running": "blue",
    "retrying": "yellow",
    "completed": "green",
    "resolved": "green",
    "skipped": "dim",
    "failed": "red",
    "cancelled": "magenta",
}


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(value, default=_plain, ensure_ascii=False, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None) -> None:
    """A table as wide as the terminal, or as the text needs where there is none; states in their colours."""
    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console().print(table)


def console() -> Console:
    """Standard output; colours only on a terminal and without NO_COLOR."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160, highlight=False, soft_wrap=False)


def short_time(moment: datetime | None) -> str:
    """Local time to the second, or nothing."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else ""


def short_error(error: dict[str, Any] | None) -> str:
    """`Type: first line of the message`, with the next one where the first only announces it."""
    if not error:
        return ""
    first, *others = str(error.get("message") or "").splitlines() or [""]
    said = f"{first} {others[0].strip()}" if others and first.endswith(":") else first
    return f"{error.get('type')}: {said}"[:120]


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    escaped = text.replace("[", r"\[")
    style = STATE_STYLES.get(text)
    return f"[{style}]{escaped}[/{style}]" if style else escaped


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return list(value) if isinstance(value, (set, frozenset, tuple)) else str(value)
