"""How long the tasks of a list run or ran, against what is usual for their version. Every page with a table of tasks asks."""

from __future__ import annotations

from collections.abc import Iterable

from engine import queries
from engine.rows import TaskRow
from webapp.database import database
from webapp.expected import Pace, pace
from webapp.usuals import usuals


def paces(*lists: Iterable[TaskRow]) -> dict[str, Pace | None]:
    """The pace of every task of these lists by its id."""
    rows = [row for each in lists for row in each]
    if not rows:
        return {}
    known = usuals((row.namespace, row.name, row.version) for row in rows)
    now = queries.clock(database())
    return {row.task_id: pace(row, known.get((row.namespace, row.name, row.version)), now) for row in rows}
