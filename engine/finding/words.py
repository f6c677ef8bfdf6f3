"""Making tasks and failures ready to be found by their words: every engine tries it, one at a time does it. The scheduler calls it, after the roll-up.

Only the database decides what is next: see tasker_index_words. Nothing here is on the way of a step or of a creation.
"""

from __future__ import annotations

import threading
import time

from engine.db import Database
from engine.hiding.masking import SECRET_NAMES

ROWS_PER_BATCH = 1_000
BATCHES_PER_ROUND = 100
RESTS = 4


def index_words(db: Database, *, limit: int = ROWS_PER_BATCH) -> bool:
    """The next tasks and failures can be found, unless another is at it now. Returns whether more can be done at once."""
    return bool(db.value("select tasker_index_words(%(limit)s, %(names)s)", {"limit": limit, "names": list(SECRET_NAMES)}))


def go_on(db: Database, stopping: threading.Event, *, batches: int = BATCHES_PER_ROUND) -> None:
    """One round of at most so many batches, which rests between them `RESTS` times as long as they take; raises psycopg errors."""
    for _ in range(batches):
        started = time.monotonic()
        if not index_words(db) or stopping.wait(RESTS * (time.monotonic() - started)):
            break
