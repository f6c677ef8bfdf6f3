"""How much of a workflow may go on at once or begin within a period: what definitions declare, and what operators have changed since.

`tasker limit` calls this; engine.gates reads what authors write, and sql/schema/87_gates.sql says how it is kept.
"""

from __future__ import annotations

from typing import Any

from engine.db import Database
from engine.gates import Limit
from engine.rows import LimitRow


def limits(db: Database) -> list[LimitRow]:
    """Every limit by namespace, workflow and step, with how many places are taken and how many steps wait before it, both counted up to 10,000."""
    found = db.rows("""
        select l.namespace, l.name, nullif(l.step_name, ''), l.at_once, l.per_period, extract(epoch from l.period)::int, array_to_string(l.key_path, '.'),
               (l.declared ->> 'at_once')::int, (l.declared ->> 'per_period')::int, l.changed_by, l.changed_at,
               (select count(*)::int from (select from tasker_place h where h.limit_id = l.limit_id and not h.ended limit 10000) x),
               (select count(*)::int from (select from tasker_waiting w where w.limit_id = l.limit_id limit 10000) x)
          from tasker_limit l order by l.namespace collate "C", l.name collate "C", l.step_name collate "C"
    """)
    return [_row(*row) for row in found]


def set_limit(
    db: Database, namespace: str, name: str, step_name: str | None = None, *, at_once: int | None = None, per_period: int | None = None, actor: str
) -> None:
    """From now on so many at once and so many per period, None: any number, 0: nothing begins; until `reset_limit`. What has begun goes on.

    Raises `NotFound` where the workflow declares no limit.
    """
    db.value(
        "select tasker_set_limit(%(namespace)s, %(name)s, %(step)s, %(at_once)s, %(per_period)s, %(actor)s)",
        {"namespace": namespace, "name": name, "step": step_name or "", "at_once": at_once, "per_period": per_period, "actor": actor},
    )


def reset_limit(db: Database, namespace: str, name: str, step_name: str | None = None, *, actor: str) -> None:
    """The limit is as the definition declares it. Raises `NotFound` where the workflow declares no limit."""
    db.value(
        "select tasker_reset_limit(%(namespace)s, %(name)s, %(step)s, %(actor)s)",
        {"namespace": namespace, "name": name, "step": step_name or "", "actor": actor},
    )


def _row(namespace: str, name: str, step_name: str | None, at_once: Any, per_period: Any, period: int, key: str, *rest: Any) -> LimitRow:
    declared_at_once, declared_per_period, *tail = rest
    return LimitRow(
        namespace, name, step_name, Limit(at_once, per_period, period, key or None), Limit(declared_at_once, declared_per_period, period, key or None), *tail
    )
