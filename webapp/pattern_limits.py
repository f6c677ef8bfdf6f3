"""Invented limits for `/patterns`: as declared, changed by somebody, and what holds and waits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from engine.gates import Limit
from engine.rows import LimitedRow, LimitRow

Specimen = tuple[str, str, str, dict[str, Any]]


def limit_specimens() -> Iterator[Specimen]:
    """The list with and without limits, and what one of them holds up."""
    declared = LimitRow("shop", "process_order", "charge", Limit(3, 60, 60), Limit(3, 60, 60), None, None, None, 3, 1_200, "", False)
    keyed = Limit(1, key="customer.id")
    changed = replace(declared, step_name=None, limit=replace(keyed, at_once=0), declared=keyed, changed_by="ana", changed_at=_ago(700), change_reason="The bank is down.", taken_count=2)
    yield "Lists", "Limits", "limits/_list.html", {"found": [declared, changed]}
    yield "Lists", "Limits, none", "limits/_list.html", {"found": []}
    held = [LimitedRow("ann", f"00000000-0000-4000-8000-00000000000{number}", None, state, _ago(60 * number)) for number, state in enumerate(("running", "pending"), 1)]
    waits = [replace(held[0], step_name="validate", state="ready", since=_ago(9))]
    yield "Lists", "What a limit holds up", "limits/_standing.html", {"row": changed, "holders": held, "waiters": waits}
    yield "Lists", "A limit that holds up nothing", "limits/_standing.html", {"row": replace(declared, taken_count=0, waiting_count=0), "holders": [], "waiters": []}


def _ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)
