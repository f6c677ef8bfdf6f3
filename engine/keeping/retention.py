"""How long tasks are kept: a setting per namespace and a default, and the sweep by which every engine drops what is older.

The scheduler calls `Sweep.go_on`, the command line the rest. Only the database decides what may go: see tasker_old_tasks and tasker_drop_tasks.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import LiteralString

import psycopg

from engine.db import Database
from engine.errors import DatabaseUnavailable, NotFound, Problem, RequestError
from engine.keeping import archives
from engine.keeping.archive_files import ArchiveFailed
from engine.rollups import catch_up
from engine.rows import RetentionRow
from engine.timing import interval_seconds

log = logging.getLogger("tasker.engine")

SHORTEST = timedelta(minutes=1)
LONGEST = timedelta(days=36_500)
HOLD = timedelta(days=7)
"""How much longer than its retention a task is kept for subscribers that have not read all its events. Roll-ups count within seconds, and are waited for always."""
STEPS_PER_BATCH = 1_000
BATCHES_PER_ROUND = 100
LOOKED_AT = 10_000
BATCHES_KEPT = timedelta(days=7)
"""How long an action on many is kept at least; then until the last of its tasks is gone."""
BATCHES_LOOKED_AT = 50


# ---- the settings


def retention(text: str) -> timedelta:
    """The length of time that text such as `90d`, `36h` or `1d12h` names; raises `RequestError` unless it is from a minute to 100 years."""
    seconds = interval_seconds(text)
    if not SHORTEST.total_seconds() <= seconds <= LONGEST.total_seconds():
        raise RequestError([Problem("retention", "bad_retention", f'"{text[:80]}" must be from 1m to 36500d, such as 90d, 36h or 1d12h')])
    return timedelta(seconds=seconds)


def retentions(db: Database) -> list[RetentionRow]:
    """Every namespace by name with what it keeps; `retention` None is for ever."""
    found = db.rows("""
        select r.namespace, r.retention, r.by_default, r.set_by, r.set_at from tasker_retentions r order by r.namespace collate "C"
    """)
    return [RetentionRow(*row) for row in found]


def retention_of(db: Database, namespace: str) -> RetentionRow:
    """What one namespace keeps. Raises `NotFound`."""
    for row in retentions(db):
        if row.namespace == namespace:
            return row
    raise NotFound(f'there is no namespace "{namespace}"')


def default_retention(db: Database) -> timedelta | None:
    """What namespaces without a setting of their own follow; None is for ever."""
    found: timedelta | None = db.value("select d.retention from tasker_retention_default d")
    return found


def set_retention(db: Database, namespace: str, kept: timedelta | None, *, actor: str) -> None:
    """From now on the namespace keeps its tasks for so long after their end, None for ever. Raises `NotFound`."""
    db.value("select tasker_set_retention(%(namespace)s, %(kept)s, %(actor)s)", {"namespace": namespace, "kept": kept, "actor": actor})


def follow_default(db: Database, namespace: str) -> None:
    """The namespace has no setting of its own any more. Raises `NotFound`."""
    db.value("select tasker_follow_retention(%(namespace)s)", {"namespace": namespace})


def set_default(db: Database, kept: timedelta | None, *, actor: str) -> None:
    """What every namespace follows that has no setting of its own; None is for ever."""
    db.value("select tasker_set_default_retention(%(kept)s, %(actor)s)", {"kept": kept, "actor": actor})


# ---- dropping


@dataclass(frozen=True, slots=True)
class Dropped:
    """How much is gone."""

    task_count: int = 0
    step_count: int = 0

    def __add__(self, other: Dropped) -> Dropped:
        return Dropped(self.task_count + other.task_count, self.step_count + other.step_count)


@dataclass(frozen=True, slots=True)
class Old:
    """Tasks that were made longer ago than they are kept: those that go, and those that stay because they are open or not yet read."""

    due_count: int
    open_count: int
    unread_count: int


@dataclass(frozen=True, slots=True)
class _Place:
    """How far a sweep has come in one definition; `limit` tasks hold about STEPS_PER_BATCH steps, or as many as go to a file of its archive."""

    definition_id: int
    namespace: str
    archive: str | None
    limit: int
    after: int = 0


class Sweep:
    """Goes through all that may be too old, batch by batch, each a transaction of its own; definitions take turns. When it is through, it begins anew.

    Two engines may sweep at once: what one is dropping the other passes by.
    """

    def __init__(self, db: Database, *, namespace: str | None = None, hold: timedelta = HOLD) -> None:
        self._db, self._namespace, self._hold = db, namespace, hold
        self._places: deque[_Place] = deque()
        self._batches_to = 0
        self.failures: dict[str, str] = {}
        """Of the namespaces of which nothing was dropped since the last beginning, because their archive cannot be written: why."""

    def go_on(self, stopping: threading.Event, *, batches: int = BATCHES_PER_ROUND) -> Dropped:
        """One round of at most so many batches, which rests between them as long as they take; raises psycopg errors."""
        if not self._places:
            self.begin()
        dropped = Dropped()
        for _ in range(batches):
            if not self._places or stopping.is_set():
                break
            started = time.monotonic()
            dropped += self.drop_batch()
            stopping.wait(time.monotonic() - started)
        self.drop_batches()
        return dropped

    def finish(self) -> Dropped:
        """Everything that may go is gone, without rests; what is not counted yet in the roll-ups is counted first."""
        catch_up(self._db)
        self.begin()
        dropped = Dropped()
        while self._places:
            dropped += self.drop_batch()
        return dropped

    def drop_batches(self) -> None:
        """Of the next few batches of actions those are gone whose tasks are; the round after the last begins anew."""
        given = {"after": self._batches_to, "limit": BATCHES_LOOKED_AT, "kept": BATCHES_KEPT}
        self._batches_to = self._db.value("select tasker_drop_batches(%(after)s, %(limit)s, %(kept)s)", given) or 0

    def begin(self) -> None:
        """From the oldest task of every definition whose namespace does not keep for ever."""
        found = self._db.rows(
            """
            select d.definition_id, d.namespace, a.place, greatest(case when a.place is null then %(steps)s else %(archived)s end / d.step_count, 1)
              from tasker_definition d join tasker_retentions r using (namespace) join tasker_archives a using (namespace)
             where r.retention is not null and d.used and (%(namespace)s::text is null or d.namespace = %(namespace)s)
             order by d.definition_id
            """,
            {"steps": STEPS_PER_BATCH, "archived": archives.STEPS_PER_FILE, "namespace": self._namespace},
        )
        self._places = deque(_Place(*row) for row in found)
        self.failures = {}

    def drop_batch(self) -> Dropped:
        """The next few old tasks of the definition whose turn it is are gone, as far as nothing keeps them."""
        place = self._places.popleft()
        try:
            looked_to, task_count, step_count = self._drop(place)
        except ArchiveFailed as error:
            self.failures[place.namespace] = str(error)
            return Dropped()
        except DatabaseUnavailable as error:
            if not isinstance(error.__cause__, psycopg.errors.QueryCanceled):
                raise
            self._try_fewer(place)
            return Dropped()
        if looked_to is not None:
            self._places.append(replace(place, after=looked_to))
        return Dropped(task_count, step_count)

    def _try_fewer(self, place: _Place) -> None:
        """The server has ended a batch that took too long: half of it is next; a task that is too much alone waits for the next beginning."""
        log.warning("dropping a batch of %s, of at most %d tasks, took too long%s", place.namespace, place.limit, "; half as many are tried" if place.limit > 1 else "")
        if place.limit > 1:
            self._places.append(replace(place, limit=place.limit // 2))

    def _drop(self, place: _Place) -> tuple[int | None, int, int]:
        if place.archive is not None:
            return archives.write_and_drop(
                self._db, place.namespace, place.archive, definition_id=place.definition_id, after=place.after, limit=place.limit, hold=self._hold
            )
        query: LiteralString = "select looked_to, task_count, step_count from tasker_drop_tasks(%(definition)s, %(after)s, %(limit)s, %(hold)s)"
        parameters = {"definition": place.definition_id, "after": place.after, "limit": place.limit, "hold": self._hold}
        looked_to, task_count, step_count = self._db.rows(query, parameters)[0]
        return looked_to, task_count, step_count


def old_tasks(db: Database, *, namespace: str, hold: timedelta = HOLD) -> Old:
    """What a sweep of the namespace would find now; nothing is dropped."""
    definitions = db.rows("select d.definition_id from tasker_definition d where d.namespace = %(namespace)s and d.used", {"namespace": namespace})
    counts: Counter[str | None] = Counter()
    for (definition_id,) in definitions:
        for kept_for in _old_tasks(db, definition_id, hold):
            counts[kept_for] += 1
    return Old(counts[None], counts["open"], counts["unread"])


def _old_tasks(db: Database, definition_id: int, hold: timedelta) -> Iterator[str | None]:
    found: list[tuple[int, str | None]] = [(0, None)]
    while found:
        query: LiteralString = "select task_no, kept_for from tasker_old_tasks(%(definition)s, %(after)s, %(limit)s, %(hold)s) order by task_no"
        parameters = {"definition": definition_id, "after": found[-1][0], "limit": LOOKED_AT, "hold": hold}
        found = [(task_no, kept_for) for task_no, kept_for in db.rows(query, parameters)]
        yield from (kept_for for _, kept_for in found)
