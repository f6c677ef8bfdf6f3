"""One action on many tasks or steps: put on record at once, done by the engines piece by piece, each item with its outcome."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, LiteralString

from engine.access.permissions import Namespaces
from engine.db import Database
from engine.errors import NotFound, Problem, RequestError
from engine.steps import result_text

BatchAction = Literal["retry", "cancel", "pause", "resume", "skip", "resolve"]
MOST_ITEMS = 10_000
PIECE = 20
"""How many items are done in one transaction at most: it holds the locks of all of them. None is begun after a second."""
LISTED = 100


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as it stands. `finished_at` is None while there is something to do; `stopped_by` names who ended it early."""

    batch_id: int
    action: BatchAction
    about: str
    namespaces: tuple[str, ...]
    actor: str
    reason: str | None
    item_count: int
    done_count: int
    refused_count: int
    created_at: datetime
    finished_at: datetime | None
    stopped_by: str | None

    @property
    def left_count(self) -> int:
        """How many items have no outcome."""
        return self.item_count - self.done_count - self.refused_count


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One task, or one step of it; `outcome` is `done`, `refused` with the reason as `message`, or None."""

    item_no: int
    task_id: str
    step_name: str | None
    outcome: str | None
    message: str | None


_COLUMNS: LiteralString = """b.batch_id, b.action, b.about, b.namespaces, b.actor, b.reason, b.item_count, b.done_count, b.refused_count,
           b.created_at, b.finished_at, b.stopped_by"""


def make_batch(db: Database, action: BatchAction, items: Sequence[tuple[str, str | None]], *, about: str, actor: str, reason: str | None = None, key: str | None = None, given: Any = None) -> int:
    """The id of a batch that the engines will do: the action on each (task id, step name or None).

    `about` says in words how the items were chosen, `given` is the result that `resolve` gives to each; a request repeated with its `key` is answered with the first batch.
    Raises `RequestError` for none or more than `MOST_ITEMS` and for a result that does not fit all the steps, `NotFound` when all tasks are gone.
    """
    if not 0 < len(items) <= MOST_ITEMS:
        raise RequestError([Problem("items", "count", f"a batch has 1 to {MOST_ITEMS:,} items; this one has {len(items):,}")])
    given = {"tasks": [task for task, _ in items], "steps": [step for _, step in items], "action": action, "about": about, "actor": actor, "reason": reason, "key": key, "result": _result(db, items, given) if action == "resolve" else None}
    return int(db.value("select tasker_make_batch(%(action)s, %(tasks)s::uuid[], %(steps)s::text[], %(about)s, %(actor)s, %(reason)s, %(key)s, %(result)s::jsonb)", given))


def _result(db: Database, items: Sequence[tuple[str, str | None]], given: Any) -> str:
    """The result as it is kept; it must fit the step in each of the versions among the items."""
    query = """select distinct on (t.definition_id, i.step_name) t.task_id::text, i.step_name
                 from unnest(%(tasks)s::uuid[], %(steps)s::text[]) as i (task_id, step_name) join tasker_task t using (task_id)"""
    each = db.rows(query, {"tasks": [task for task, _ in items], "steps": [step for _, step in items]})
    texts = {result_text(db, task, step, given) for task, step in each}
    if len(texts) > 1:
        raise RequestError([Problem("result", "not_one_meaning", "means something else in another version; resolve them one by one")])
    return texts.pop() if texts else "null"


def batch_of_key(db: Database, key: str) -> int | None:
    """The batch that a request with this key has made; None when none has."""
    found: int | None = db.value("select b.batch_id from tasker_batch b where b.key = %(key)s", {"key": key})
    return found


def run_due(db: Database, stop: threading.Event) -> int:
    """What waited in batches is done, or refused, until there is no more or `stop` is set; how many items that were."""
    total = 0
    while not stop.is_set() and (number := int(db.value("select tasker_run_batches(%(limit)s)", {"limit": PIECE}))):
        total += number
    return total


def stop_batch(db: Database, batch_id: int, *, actor: str) -> None:
    """What of the batch is not done yet will not be. Raises `NotFound`, and `WrongState` when it has ended."""
    db.value("select tasker_stop_batch(%(batch)s, %(actor)s)", {"batch": batch_id, "actor": actor})


def batch(db: Database, batch_id: int, *, namespaces: Namespaces = None) -> Batch:
    """The batch, if all its tasks are of these namespaces. Raises `NotFound`."""
    found = _batches(db, namespaces, batch_id, 1) if batch_id < 2**63 else []
    if not found:
        raise NotFound(f"there is no batch {batch_id}")
    return found[0]


def batches(db: Database, *, namespaces: Namespaces = None, limit: int = LISTED) -> list[Batch]:
    """The newest batches whose tasks are all of these namespaces, newest first."""
    return _batches(db, namespaces, None, limit)


def _batches(db: Database, namespaces: Namespaces, batch_id: int | None, limit: int) -> list[Batch]:
    found = db.rows(
        f"""
        select {_COLUMNS} from tasker_batch b
         where (%(batch)s::bigint is null or b.batch_id = %(batch)s) and (%(here)s::text[] is null or b.namespaces <@ %(here)s::text[])
         order by b.batch_id desc limit %(limit)s
        """,
        {"batch": batch_id, "here": None if namespaces is None else sorted(namespaces), "limit": limit},
    )
    return [replace(one, namespaces=tuple(one.namespaces)) for one in (Batch(*row) for row in found)]


def batch_items(db: Database, batch_id: int, *, after: int = 0, limit: int = LISTED) -> list[BatchItem]:
    """Items in their order, those that were refused first of all."""
    found = db.rows(
        """
        select i.item_no, i.task_id::text, i.step_name, i.outcome, i.message from tasker_batch_item i
         where i.batch_id = %(batch)s order by i.outcome is distinct from 'refused', i.item_no offset %(after)s limit %(limit)s
        """,
        {"batch": batch_id, "after": after, "limit": limit},
    )
    return [BatchItem(*row) for row in found]
