"""One action on many tasks or steps: put on record at once, done by the engines piece by piece, each item with its outcome."""

from __future__ import annotations

import threading
from collections import Counter
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


@dataclass(frozen=True, slots=True)
class Weighed:
    """What an action would be done to now, and for each reason to how many it would be refused."""

    items: list[tuple[str, str | None]]
    refused: dict[str, int]


_COLUMNS: LiteralString = """b.batch_id, b.action, b.about, b.namespaces, b.actor, b.reason, b.item_count, b.done_count, b.refused_count,
           b.created_at, b.finished_at, b.stopped_by"""


def weigh(db: Database, action: BatchAction, items: Sequence[tuple[str, str | None]]) -> Weighed:
    """Which of the items the action would be done to as they stand, in their order, and why not to the others. Nothing is tried and nothing locked."""
    given = {"action": action, "tasks": [task for task, _ in items], "steps": [step for _, step in items]}
    reasons = [row[0] for row in db.rows(_REFUSED, given)]
    done = [item for item, reason in zip(items, reasons, strict=True) if reason is None]
    return Weighed(done, dict(Counter(reason for reason in reasons if reason is not None).most_common()))


# in the order in which the functions of the actions look, and in their words
_REFUSED: LiteralString = r"""
    select case
             when t.task_no is null then 'the task is gone'
             when i.step_name is null then
               case when %(action)s = 'resume' then case when not t.paused or t.finished_at is not null then 'the task is not paused' end
                    when %(action)s = 'pause' and t.paused then 'the task is paused already'
                    when %(action)s in ('cancel', 'pause') and t.finished_at is not null then format('the task is %%s already', tasker_state_name(t.state))
                    when %(action)s in ('retry', 'pause') and t.cancel_requested_at is not null then 'the task was cancelled'
                    when %(action)s = 'retry' and t.failed_count = 0 then format('the task is %%s and no step of it is failed', tasker_state_name(t.state))
               end
             when s.step_no is null then 'the step is gone'
             when s.state not in (3, 5) and (%(action)s = 'retry' or s.state not in (0, 1)) then format(case %(action)s when 'retry' then 'the step is %%s, only a failed or waiting step can be retried' when 'skip' then 'the step is %%s, it cannot be skipped'
                       else 'the step is %%s, it cannot be resolved' end, tasker_state_name(s.state))
             when t.cancel_requested_at is not null then 'the task was cancelled'
             when %(action)s = 'retry' and s.attempts >= 32767 then 'it has been tried 32,767 times, which is as often as can be; skip or resolve it, or begin a new task'
           end
      from unnest(%(tasks)s::uuid[], %(steps)s::text[]) with ordinality as i (task_id, step_name, place)
      left join tasker_task t using (task_id)
     cross join lateral (select substring(i.step_name from '\[([0-9]{1,6})\]$')::int as item_no, regexp_replace(i.step_name, '\[[0-9]{1,6}\]$', '') as name) named
      left join tasker_template p on p.definition_id = t.definition_id and p.name = named.name
      left join tasker_step m on named.item_no is not null and m.task_no = t.task_no and m.step_no = p.step_no and named.item_no < m.item_count
      left join tasker_step s on s.task_no = t.task_no and s.step_no = case when named.item_no is null then p.step_no else m.first_item + named.item_no end
     order by i.place
"""


def failed_steps_of(db: Database, numbers: Sequence[int]) -> list[tuple[str, str | None]]:
    """The id and the name of every failed step of the tasks with these numbers, in their order; one more than `MOST_ITEMS` at most."""
    query: LiteralString = """
        select t.task_id::text, tasker_step_name(p.name, s.item_no) from unnest(%(numbers)s::bigint[]) with ordinality as asked (task_no, place)
          join tasker_task t using (task_no) join tasker_step s on s.task_no = t.task_no and s.state = 5
          join tasker_template p on p.definition_id = s.definition_id and p.step_no = coalesce(s.map_no, s.step_no)
         where t.failed_count > 0 order by asked.place, s.step_no limit %(most)s
    """
    return [(task, step) for task, step in db.rows(query, {"numbers": list(numbers), "most": MOST_ITEMS + 1})]


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
