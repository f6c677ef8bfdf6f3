"""Which task another one is best compared with. The dashboard's comparison asks; it changes nothing and looks at a bounded number of tasks."""

from __future__ import annotations

from typing import LiteralString

from engine.db import Database
from engine.queries import known_id

LOOKED_AT = 1_000
"""How many tasks of each version are looked at for one that ended well, the newest."""


def last_good(db: Database, task_id: str) -> str | None:
    """The newest task of the same workflow, of whatever version, that ended well before this one was made, else after it; None where there is none."""
    query: LiteralString = """
        with own as (select t.task_no, d.namespace, d.name from tasker_task t join tasker_definition d using (definition_id) where t.task_id = %(id)s),
        good as (
          select l.task_no, l.task_id, l.task_no < own.task_no as is_before
            from own
            join tasker_definition d using (namespace, name)
           cross join lateral (
             (select b.task_no, b.task_id from tasker_latest_tasks(d.definition_id, %(looked)s, own.task_no) b where b.state in (4, 8) order by b.task_no desc limit 1)
             union all
             (select a.task_no, a.task_id from tasker_latest_tasks(d.definition_id, %(looked)s) a where a.state in (4, 8) and a.task_no > own.task_no order by a.task_no desc limit 1)) l
        )
        select g.task_id::text from good g order by g.is_before desc, g.task_no desc limit 1
    """
    found: str | None = db.value(query, {"id": known_id(task_id), "looked": LOOKED_AT})
    return found
