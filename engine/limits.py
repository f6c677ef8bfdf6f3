"""How much of a workflow may go on at once or begin within a period: what definitions declare, what holds the places, and what operators have changed since.

`tasker limit`, the dashboard and the API call this; engine.gates reads what authors write, and sql/schema/87_gates.sql says how it is kept.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, LiteralString

from engine.access.permissions import Namespaces
from engine.db import Database
from engine.errors import NotFound
from engine.gates import Limit
from engine.hiding.masking import MASK, is_secret_name
from engine.rows import LimitedRow, LimitRow

LISTED = 50


def limits(db: Database, *, namespace: str | None = None, namespaces: Namespaces = None) -> list[LimitRow]:
    """Every limit by namespace, workflow and step, with how many places are taken and how many steps wait before it, both counted up to 10,000."""
    return _limits(db, {"namespace": namespace, "name": None, "step": None, "here": None if namespaces is None else sorted(namespaces)})


def waiting_count(db: Database, *, namespaces: Namespaces = None) -> int:
    """How many steps wait before a limit, counted up to 10,000: they are ready, and in no queue."""
    query: LiteralString = """
        select count(*)::int from (
          select from tasker_limit l join tasker_waiting w using (limit_id) where %(here)s::text[] is null or l.namespace = any(%(here)s::text[]) limit 10000) x
    """
    return int(db.value(query, {"here": None if namespaces is None else sorted(namespaces)}))


def limit_of(db: Database, namespace: str, name: str, step_name: str | None = None) -> LimitRow:
    """The limit on the workflow's tasks, or on that step. Raises `NotFound`, which names the limits that there are."""
    found = _limits(db, {"namespace": namespace, "name": name, "step": step_name or "", "here": None})
    if not found:
        others = ", ".join(words(row.namespace, row.name, row.step_name) for row in limits(db, namespace=namespace))
        raise NotFound(f"{words(namespace, name, step_name)} declares no limit; give it the option limit" + (f". There is {others}" if others else ""))
    return found[0]


def words(namespace: str, name: str, step_name: str | None) -> str:
    """`payments/charge, step call_bank`"""
    return f"{namespace}/{name}" + (f", step {step_name}" if step_name else "")


def _limits(db: Database, asked: dict[str, Any]) -> list[LimitRow]:
    query: LiteralString = """
        select l.namespace, l.name, nullif(l.step_name, ''), l.at_once, l.per_period, extract(epoch from l.period)::int, array_to_string(l.key_path, '.'),
               (l.declared ->> 'at_once')::int, (l.declared ->> 'per_period')::int, l.changed_by, l.changed_at, l.change_reason,
               (select count(*)::int from (select from tasker_place h where h.limit_id = l.limit_id and not h.ended limit 10000) x),
               (select count(*)::int from (select from tasker_waiting w where w.limit_id = l.limit_id limit 10000) x),
               tasker_limit_seen(l), l.key_is_secret
          from tasker_limit l
         where (%(namespace)s::text is null or l.namespace = %(namespace)s) and (%(name)s::text is null or l.name = %(name)s)
           and (l.declared <> '{}' or l.changed_at is not null)   -- a later version declares it no more, and no operator keeps it
           and (%(step)s::text is null or l.step_name = %(step)s) and (%(here)s::text[] is null or l.namespace = any(%(here)s::text[]))
         order by l.namespace collate "C", l.name collate "C", l.step_name collate "C"
    """
    return [_row(*row) for row in db.rows(query, asked)]


def holders(db: Database, row: LimitRow, *, limit: int = LISTED) -> list[LimitedRow]:
    """What holds the places, the longest first."""
    query: LiteralString = """
        select h.key, t.task_id::text, tasker_step_name(p.name, s.item_no), coalesce(tasker_state_name(s.state), tasker_state_name(t.state)), coalesce(h.started_at, s.started_at, t.started_at)
          from tasker_limit l join tasker_place h on h.limit_id = l.limit_id and not h.ended
          join tasker_task t on t.task_no = h.task_no
          left join tasker_step s on l.step_name <> '' and s.task_no = h.task_no and s.step_no = h.step_no
          left join tasker_template p on p.definition_id = s.definition_id and p.step_no = coalesce(s.map_no, s.step_no)
         where l.namespace = %(namespace)s and l.name = %(name)s and l.step_name = %(step)s order by 5 nulls last, h.task_no, h.step_no limit %(limit)s
    """
    return _limited(db, query, row, limit)


def waiters(db: Database, row: LimitRow, *, limit: int = LISTED) -> list[LimitedRow]:
    """What waits for a place, the first in line first; in another key's line it may begin sooner."""
    query: LiteralString = """
        select w.key, t.task_id::text, tasker_step_name(p.name, s.item_no), tasker_state_name(s.state), w.rank
          from tasker_limit l join tasker_waiting w on w.limit_id = l.limit_id
          join tasker_task t on t.task_no = w.task_no
          join tasker_step s on s.task_no = w.task_no and s.step_no = w.step_no
          join tasker_template p on p.definition_id = s.definition_id and p.step_no = coalesce(s.map_no, s.step_no)
         where l.namespace = %(namespace)s and l.name = %(name)s and l.step_name = %(step)s order by w.rank, w.task_no, w.step_no limit %(limit)s
    """
    return _limited(db, query, row, limit)


def _limited(db: Database, query: LiteralString, row: LimitRow, limit: int) -> list[LimitedRow]:
    found = [LimitedRow(*each) for each in db.rows(query, {"namespace": row.namespace, "name": row.name, "step": row.step_name or "", "limit": limit})]
    is_secret = row.key_is_secret or any(is_secret_name(part) for part in (row.limit.key or "").split("."))
    return [replace(each, key=MASK) for each in found] if is_secret else found


def foreseen(row: LimitRow, limit: Limit) -> str:
    """What another limit would do, in a sentence."""
    if limit.at_once == 0 or limit.per_period == 0:
        return f"Nothing more begins until somebody changes it again: {row.waiting_count:,} wait, and the {row.taken_count:,} that have a place go on."
    if limit.key:
        return f"It holds for each {limit.key}. The {row.taken_count:,} that have a place go on; of the {row.waiting_count:,} that wait, those begin whose {limit.key} has a place free."
    if limit.at_once is not None and row.taken_count >= limit.at_once:
        over = row.taken_count - limit.at_once + 1
        return f"The {row.taken_count:,} that have a place go on. The next of the {row.waiting_count:,} that wait begins when {over:,} of them {'has' if over == 1 else 'have'} ended."
    free = row.waiting_count if limit.at_once is None else min(row.waiting_count, limit.at_once - row.taken_count)
    turn = "" if limit.per_period is None else f", {limit.per_period:,} per {limit.period_name}"
    return f"Of the {row.waiting_count:,} that wait, {free:,} may begin at once{turn}."


def set_limit(
    db: Database, namespace: str, name: str, step_name: str | None = None, *, at_once: int | None = None, per_period: int | None = None, actor: str,
    reason: str | None = None, seen: str | None = None
) -> None:
    """From now on so many at once and so many per period, None: any number, 0: nothing begins; until `reset_limit`. What has begun goes on.

    Raises `NotFound` where the workflow declares no limit, and `ChangedSince` where the limit is not as it was `seen`.
    """
    db.value(
        "select tasker_set_limit(%(namespace)s, %(name)s, %(step)s, %(at_once)s, %(per_period)s, %(actor)s, %(reason)s, %(seen)s)",
        {"namespace": namespace, "name": name, "step": step_name or "", "at_once": at_once, "per_period": per_period, "actor": actor, "reason": reason, "seen": seen},
    )


def reset_limit(db: Database, namespace: str, name: str, step_name: str | None = None, *, actor: str, seen: str | None = None) -> None:
    """The limit is as the definition declares it. Raises as `set_limit`."""
    db.value(
        "select tasker_reset_limit(%(namespace)s, %(name)s, %(step)s, %(actor)s, %(seen)s)",
        {"namespace": namespace, "name": name, "step": step_name or "", "actor": actor, "seen": seen},
    )


def _row(namespace: str, name: str, step_name: str | None, at_once: Any, per_period: Any, period: int, key: str, *rest: Any) -> LimitRow:
    declared_at_once, declared_per_period, *tail = rest
    return LimitRow(
        namespace, name, step_name, Limit(at_once, per_period, period, key or None), Limit(declared_at_once, declared_per_period, period, key or None), *tail
    )
