"""The counting of what has happened, on which analytics and metrics stand: every engine tries it, one at a time does it. The scheduler calls it.

Only the database decides what is counted and how: see tasker_roll_up. Nothing here is on the way of a step.
"""

from __future__ import annotations

import threading
import time

from engine.db import Database
from engine.measures.spans import HOURS_KEPT, MINUTES_KEPT

MOVES_PER_BATCH = 5_000
BATCHES_PER_ROUND = 100
PRUNE_SECONDS = 600.0
PATIENCE_SECONDS = 5.0
RESTS = 4
"""How much longer than it works it rests while it is behind: a fifth of a core at most is taken from the steps."""


class RollUp:
    """Counts what is new, batch by batch, each a transaction of its own, and forgets what is older than it is kept."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._prune_at = 0.0

    def go_on(self, stopping: threading.Event, *, batches: int = BATCHES_PER_ROUND) -> None:
        """One round of at most so many batches, which rests between them `RESTS` times as long as they take; raises psycopg errors."""
        for _ in range(batches):
            started = time.monotonic()
            _, is_behind = roll_up(self._db)
            if not is_behind or stopping.wait(RESTS * (time.monotonic() - started)):
                break
        if time.monotonic() >= self._prune_at:
            prune(self._db)
            self._prune_at = time.monotonic() + PRUNE_SECONDS


def roll_up(db: Database, *, limit: int = MOVES_PER_BATCH) -> tuple[int, bool]:
    """The next moves are counted, unless another does it now. Returns up to which number they are, and whether more can be counted at once."""
    counted_to, is_behind = db.rows("select counted_to, is_behind from tasker_roll_up(%(limit)s)", {"limit": limit})[0]
    return counted_to, is_behind


def catch_up(db: Database, *, patience: float = PATIENCE_SECONDS, limit: int = MOVES_PER_BATCH) -> bool:
    """Whether everything that had happened by now is counted; a transaction that stays open holds it back, and is waited for so many seconds."""
    newest = db.value("select coalesce(max(h.event_id), 0) from tasker_history h")
    counted_to, is_behind = roll_up(db, limit=limit)
    deadline = time.monotonic() + patience
    while counted_to < newest and (is_behind or time.monotonic() < deadline):
        if not is_behind:
            time.sleep(0.01)
        counted_to, is_behind = roll_up(db, limit=limit)
    return bool(counted_to >= newest)


def prune(db: Database) -> int:
    """Minutes and hours that are older than they are kept are gone; returns how many rows."""
    query = "select tasker_prune_rollups(tasker_clock() - %(minutes)s, tasker_clock() - %(hours)s)"
    found: int = db.value(query, {"minutes": MINUTES_KEPT, "hours": HOURS_KEPT})
    return found
