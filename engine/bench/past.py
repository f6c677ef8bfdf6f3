"""What lies behind a database that has been in use for long, made in one go: tasks that have ended, with the history that the engine's own path writes."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import timedelta
from typing import LiteralString

import psycopg

from engine.db import connect

CHUNK = 50_000
FILL = """
  with task as (
    insert into tasker_task (task_no, definition_id, state, remaining, context, created_at, started_at, finished_at)
    select nextval('tasker_task_no'), %(definition)s, 4, 0, '{}', begun.at, begun.at, begun.at + interval '1 second'
      from generate_series(%(first)s, %(first)s + %(count)s - 1) as number, lateral (select now() - interval '1 hour' - (%(all)s - number) * %(apart)s) as begun (at)
    returning task_no, started_at, finished_at
  ),
  step as (
    insert into tasker_step (task_no, step_no, definition_id, pending, state, attempts, retry_limit, counted, children, started_at, finished_at, result)
    select t.task_no, p.step_no, p.definition_id, 0, 4, 1, p.retry_limit, p.children = '{}', nullif(p.children, '{}'), t.started_at, t.finished_at, '{"ok": 1}'
      from task t join tasker_template p on p.definition_id = %(definition)s order by t.task_no, p.step_no
    returning task_no, step_no, started_at, finished_at
  )
  insert into tasker_history (task_no, step_no, at, from_state, to_state, attempt, worker_id)
  select s.task_no, s.step_no, case m.from_state when 1 then s.started_at else s.finished_at end, m.from_state, m.to_state, 1, 1
    from step s, (values (1, 2), (2, 4)) m (from_state, to_state)
  union all
  select t.task_no, null, case m.from_state when 0 then t.started_at else t.finished_at end, m.from_state, m.to_state, null, null
    from task t, (values (0, 2), (2, 4)) m (from_state, to_state)
  order by 1, 2, 4
"""
"""Ended tasks with all that an engine would have written of them, the newest an hour old."""


def fill(url: str, definition_id: int, count: int, days: int = 90) -> None:
    """So many tasks of the definition have completed within the last days, evenly; each of their steps took a second."""
    with connect(url, options="-c statement_timeout=0", call_seconds=3600) as connection:
        for first in range(1, count + 1, CHUNK):
            connection.execute(FILL.encode(), {
                "definition": definition_id, "first": first, "count": min(CHUNK, count + 1 - first), "all": count, "apart": timedelta(days=days) / count,
            })  # fmt: skip


def end_all(url: str, definition_id: int, age: LiteralString) -> None:
    """Every task of the definition has completed `age` ago, an SQL expression of the task's row `t`; all steps took a second."""
    known = {"definition": definition_id}
    with connect(url, options="-c statement_timeout=0", call_seconds=3600) as connection:
        connection.execute("delete from tasker_ready where definition_id = %(definition)s", known)
        connection.execute(
            f"update tasker_task t set state = 4, remaining = 0, created_at = now() - {age} - interval '1 second', started_at = now() - {age} - interval '1 second',"
            f" finished_at = now() - {age} where definition_id = %(definition)s", known
        )
        connection.execute(
            "update tasker_step s set state = 4, pending = 0, attempts = 1, started_at = t.started_at, finished_at = t.finished_at, result = '{\"ok\": 1}'"
            " from tasker_task t where t.task_no = s.task_no and s.definition_id = %(definition)s", known
        )
        connection.execute(
            "insert into tasker_history (task_no, step_no, at, from_state, to_state, attempt, worker_id)"
            " select s.task_no, s.step_no, s.started_at, m.from_state, m.to_state, 1, 1"
            "   from tasker_step s, (values (1, 2), (2, 4)) m (from_state, to_state) where s.definition_id = %(definition)s order by s.task_no, s.step_no, m.from_state", known
        )
        connection.execute(
            "insert into tasker_history (task_no, at, from_state, to_state) select t.task_no, t.finished_at, m.from_state, m.to_state"
            "   from tasker_task t, (values (0, 2), (2, 4)) m (from_state, to_state) where t.definition_id = %(definition)s order by t.task_no, m.from_state", known
        )
        connection.execute("vacuum analyze")
        with suppress(psycopg.errors.InsufficientPrivilege):
            connection.execute("checkpoint")
    os.sync()  # else the gigabytes of a moment ago are written while something is measured
