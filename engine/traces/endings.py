"""What has ended, with all that its span tells: rows of the history, and what is kept of their tasks, workflows and engines. `engine.traces.tracing` reads it.

Most of a span is that of its task's other spans, or of the same step in other tasks: looked up once and kept, it costs a fraction of what a join does for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, LiteralString, NamedTuple

from engine.db import Database
from engine.states import STEP_STATES
from engine.traces.span_bytes import Ending

TASKS_KNOWN: Final = 10_000
DEFINITIONS_KNOWN: Final = 200
ENGINES_KNOWN: Final = 1000

STATES: Final = {code: str(state) for code, state in STEP_STATES.items()}
"""Of steps and of tasks: those that both can be in have one number."""

Row = tuple[Any, ...]


class _Task(NamedTuple):
    task_id: str
    traceparent: str | None
    correlation_id: str | None
    created_at: datetime
    definition_id: int


class _Workflow(NamedTuple):
    namespace: str
    name: str
    version: str
    steps: Mapping[int, str]


class Endings:
    """Those of the tasks that are traced: a share of them, and where a caller has said so, that."""

    def __init__(self, db: Database, *, share: float = 1.0) -> None:
        self._db, self._share = db, share
        self._tasks: dict[int, _Task | None] = {}
        self._workflows: dict[int, _Workflow] = {}
        self._engines: dict[int, str] = {}

    def read(self, after: int, until: int) -> list[Ending]:
        """In the order of the events, whose ids are above `after` and not above `until`."""
        query: LiteralString = """
            select task_no, step_no, template_no, item_no, state, attempt, worker_id, began_at, ended_at, retry_at, error_type, error_message
              from tasker_read_endings(%(after)s, %(until)s, %(share)s)
        """
        rows = self._db.rows(query, {"after": after, "until": until, "share": self._share})
        self._learn({row[0] for row in rows})
        return [self._ending(task, row) for row in rows if (task := self._tasks[row[0]])]

    def _ending(self, task: _Task, row: Row) -> Ending:
        _, step_no, template_no, item_no, state, attempt, worker_id, began_at, ended_at, retry_at, error_type, error_message = row
        workflow = self._workflows.get(task.definition_id) or self._workflow(task.definition_id)
        step = None if step_no is None else workflow.steps[template_no]
        if item_no is not None:
            step = f"{step}[{item_no}]"
        engine = (self._engines.get(worker_id) or self._engine(worker_id)) if worker_id else None
        return Ending(
            task.task_id, task.traceparent, workflow.namespace, workflow.name, workflow.version, task.correlation_id,
            step, STATES[state], attempt, engine, began_at or task.created_at, ended_at, retry_at, error_type, error_message,
        )  # fmt: skip

    def _learn(self, numbers: set[int]) -> None:
        """What the spans of these tasks share; None for those that are not traced, or are gone."""
        if len(self._tasks) > TASKS_KNOWN:
            self._tasks.clear()
        if missing := numbers - self._tasks.keys():
            query: LiteralString = """
                select t.task_no, t.task_id::text, t.traceparent, t.correlation_id, t.created_at, t.definition_id
                  from tasker_task t where t.task_no = any(%(numbers)s::bigint[])
            """
            found = {row[0]: _Task._make(row[1:]) for row in self._db.rows(query, {"numbers": list(missing)})}
            self._tasks.update({number: _traced(found.get(number)) for number in missing})

    def _workflow(self, definition_id: int) -> _Workflow:
        """Its content never changes under its number."""
        if len(self._workflows) >= DEFINITIONS_KNOWN:
            self._workflows.clear()
        named: LiteralString = "select d.namespace, d.name, d.version from tasker_definition d where d.definition_id = %(id)s"
        steps: LiteralString = "select p.step_no, p.name from tasker_template p where p.definition_id = %(id)s"
        ((namespace, name, version),) = self._db.rows(named, {"id": definition_id})
        found = self._workflows[definition_id] = _Workflow(namespace, name, version, {row[0]: row[1] for row in self._db.rows(steps, {"id": definition_id})})
        return found

    def _engine(self, worker_id: int) -> str:
        """Its name, as the pages have it."""
        if len(self._engines) >= ENGINES_KNOWN:
            self._engines.clear()
        query: LiteralString = "select coalesce((select w.name from tasker_worker w where w.worker_id = %(id)s), 'engine ' || %(id)s)"
        found = self._engines[worker_id] = str(self._db.value(query, {"id": worker_id}))
        return found


def _traced(task: _Task | None) -> _Task | None:
    """None where the caller's flags say that its trace is not kept."""
    return task if task and (task.traceparent is None or int(task.traceparent[53:55], 16) & 1) else None
