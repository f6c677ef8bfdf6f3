"""What lies behind a database that has been in use for long, made in one go: tasks that have ended, with the history that the engine's own path writes."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import LiteralString

import psycopg

from engine.db import connect


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
            "   from tasker_step s, (values (1, 2), (2, 4)) m (from_state, to_state) where s.definition_id = %(definition)s order by s.task_no, s.step_no", known
        )
        connection.execute(
            "insert into tasker_history (task_no, at, from_state, to_state) select t.task_no, t.finished_at, m.from_state, m.to_state"
            "   from tasker_task t, (values (0, 2), (2, 4)) m (from_state, to_state) where t.definition_id = %(definition)s", known
        )
        connection.execute("vacuum analyze")
        with suppress(psycopg.errors.InsufficientPrivilege):
            connection.execute("checkpoint")
    os.sync()  # else the gigabytes of a moment ago are written while something is measured
