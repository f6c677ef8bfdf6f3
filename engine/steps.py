"""What an operator can do to one step. Each function calls the SQL function of the same name and tells the state the step is in afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, LiteralString

from engine import json_text
from engine.db import Database
from engine.definition import chosen
from engine.errors import Problem, RequestError
from engine.queries import definition, known_id, known_step, task_row
from engine.requests import TaskRequest, checked_context
from engine.states import StepState


def retry_step(db: Database, task_id: str, step_name: str, *, actor: str, reason: str | None = None) -> StepState:
    """A failed step runs again, with its template's attempts anew; a back-off ends early.

    Raises `NotFound`, and `WrongState` when the step is neither failed nor retrying or its task was cancelled.
    """
    return _act(db, "select tasker_retry_step(%(task)s, %(step)s, %(actor)s, %(reason)s)", task_id, step_name, actor, reason)


def retry_downstream(
    db: Database, task_id: str, step_name: str, *, context: Mapping[str, Any] | None = None, actor: str, reason: str | None = None
) -> StepState:
    """A step that has ended and everything below it run again, with attempts anew; with `context` in place of the task's, when it is given.

    Their results and errors are cleared, and the history keeps them; a completed or failed task goes on. What waits for a cancelled step stays as it is.
    Raises `NotFound`, `RequestError` when the context does not fit the schema, and `WrongState` when the step has not ended, when
    anything of the task is running, or when the task was cancelled.
    """
    text = None if context is None else json_text.dump(_fitting(db, task_id, context))
    query = "select tasker_retry_downstream(%(task)s, %(step)s, %(context)s::jsonb, %(actor)s, %(reason)s)"
    return _act(db, query, task_id, step_name, actor, reason, context=text)


def _fitting(db: Database, task_id: str, context: Mapping[str, Any]) -> dict[str, Any]:
    about = task_row(db, task_id)
    request = TaskRequest(about.name, about.namespace, about.version, context=context)
    return checked_context(request, definition(db, about.namespace, about.name, about.version).schema)


def cancel_step(db: Database, task_id: str, step_name: str, *, actor: str, reason: str | None = None) -> StepState:
    """The step and what waits for it are cancelled; a running step is asked to stop and is still `running` in the answer.

    Raises `NotFound`, and `WrongState` when the step has ended.
    """
    return _act(db, "select tasker_cancel_step(%(task)s, %(step)s, %(actor)s, %(reason)s)", task_id, step_name, actor, reason)


def skip_step(db: Database, task_id: str, step_name: str, *, actor: str, reason: str | None = None) -> StepState:
    """The step is skipped and its children go on; a pending step stays `pending` and is skipped when its parents are done.

    Raises `NotFound`, and `WrongState` when the step is running or has ended well.
    """
    return _act(db, "select tasker_skip_step(%(task)s, %(step)s, %(actor)s, %(reason)s)", task_id, step_name, actor, reason)


def resolve_step(db: Database, task_id: str, step_name: str, *, result: Any, actor: str, reason: str | None = None) -> StepState:
    """The step counts as completed with `result` (anything JSON can hold), and its children go on with it.

    The result of a decision names the children that go on, and is kept as a list of names.
    Raises `NotFound`, `RequestError` when the result is not JSON, does not fit the step's output schema or names no child of a decision,
    and `WrongState` when the step is running or has ended well.
    """
    result = _checked_fit(db, task_id, step_name, result)
    query = "select tasker_resolve_step(%(task)s, %(step)s, %(result)s::jsonb, %(actor)s, %(reason)s)"
    return _act(db, query, task_id, step_name, actor, reason, result=_checked(result))


def _act(db: Database, query: Any, task_id: str, step_name: str, actor: str, reason: str | None, **more: Any) -> StepState:
    return StepState(db.value(query, {"task": known_id(task_id), "step": known_step(step_name), "actor": actor, "reason": reason or None, **more}))


def _checked_fit(db: Database, task_id: str, step_name: str, result: Any) -> Any:
    query: LiteralString = """
        select p.output_schema, p.decision, array(select c.name from tasker_template c where c.definition_id = p.definition_id and c.step_no = any(p.children))
          from tasker_tasks t join tasker_template p using (definition_id)
         where t.task_id = %(task)s and p.name = %(template)s
    """
    found = db.rows(query, {"task": known_id(task_id), "template": known_step(step_name).partition("[")[0]})
    schema, decision, children = found[0] if found else (None, False, [])
    problems = _misfits(schema, result) if schema is not None else []
    if problems:
        raise RequestError(problems, "the result does not fit the step's output schema")
    try:
        return chosen(result, children) if decision else result
    except ValueError as error:
        raise RequestError([Problem("", "not_a_branch", str(error))]) from None


def _misfits(schema: dict[str, Any], result: Any) -> list[Problem]:
    from engine import schemas  # slow to import, and few steps have one
    from engine.requests import context_schema

    return schemas.check(context_schema(schema), result)


def _checked(result: Any) -> str:
    problems = json_text.input_problems(result)
    if problems:
        raise RequestError(problems, "the result cannot be stored")
    return json_text.dump(result)
