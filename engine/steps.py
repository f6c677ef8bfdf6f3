"""What an operator can do to one step, and what that would do. Each function tells the state the step is in afterwards.

With `seen`, the token of a preview, it is done only if it does what the preview showed; else it raises `ChangedSince` and nothing was done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal, LiteralString

from engine import actions, json_text
from engine.db import Database
from engine.definition import chosen
from engine.errors import Problem, RequestError
from engine.queries import definition, known_id, known_step, task_row
from engine.requests import TaskRequest, checked_context
from engine.rows import Preview
from engine.states import StepState

StepAction = Literal["retry", "retry_downstream", "cancel", "skip", "resolve"]
NOT_GIVEN: Final = object()
LIST_SECONDS = 10
"""How long the list that a map step is resolved with may take to be checked; each of its elements has the time of any result."""
MOST_TOLD = 50


def preview(
    db: Database, action: StepAction, task_id: str, step_name: str, *, result: Any = NOT_GIVEN, context: Mapping[str, Any] | None = None
) -> Preview:
    """What the action would do now, with the result or the context if one is given; nothing is done.

    Raises what the action raises: `NotFound`, `WrongState` when it cannot be done, `RequestError` for a result or context that does not fit.
    """
    given = _context_text(db, task_id, context) if result is NOT_GIVEN else result_text(db, task_id, step_name, result)
    return actions.preview(db, action, task_id, step_name, given=given)


def retry_step(
    db: Database, task_id: str, step_name: str, *, actor: str, reason: str | None = None, seen: str | None = None
) -> StepState:
    """A failed step runs again, with its template's attempts anew; a back-off ends early.

    Raises `NotFound`, and `WrongState` when the step is neither failed nor retrying or its task was cancelled.
    """
    return StepState(actions.act(db, "retry", task_id, step_name, actor=actor, reason=reason, seen=seen))


def retry_downstream(
    db: Database,
    task_id: str,
    step_name: str,
    *,
    context: Mapping[str, Any] | None = None,
    actor: str,
    reason: str | None = None,
    seen: str | None = None,
) -> StepState:
    """A step that has ended and everything below it run again, with attempts anew; with `context` in place of the task's, when it is given.

    Their results and errors are cleared, and the history keeps them; a completed or failed task goes on. What waits for a cancelled step stays as it is.
    Raises `NotFound`, `RequestError` when the context does not fit the schema, and `WrongState` when the step has not ended, when
    anything of the task is running, or when the task was cancelled.
    """
    text = _context_text(db, task_id, context)
    return StepState(actions.act(db, "retry_downstream", task_id, step_name, actor=actor, reason=reason, given=text, seen=seen))


def cancel_step(
    db: Database, task_id: str, step_name: str, *, actor: str, reason: str | None = None, seen: str | None = None
) -> StepState:
    """The step and what waits for it are cancelled; a running step is asked to stop and is still `running` in the answer.

    Raises `NotFound`, and `WrongState` when the step has ended.
    """
    return StepState(actions.act(db, "cancel", task_id, step_name, actor=actor, reason=reason, seen=seen))


def skip_step(
    db: Database, task_id: str, step_name: str, *, actor: str, reason: str | None = None, seen: str | None = None
) -> StepState:
    """The step is skipped and its children go on; a pending step stays `pending` and is skipped when its parents are done.

    Raises `NotFound`, and `WrongState` when the step is running or has ended well.
    """
    return StepState(actions.act(db, "skip", task_id, step_name, actor=actor, reason=reason, seen=seen))


def resolve_step(
    db: Database, task_id: str, step_name: str, *, result: Any, actor: str, reason: str | None = None, seen: str | None = None
) -> StepState:
    """The step counts as completed with `result` (anything JSON can hold), and its children go on with it.

    The result of a decision names the children that go on, and is kept as a list of names; that of a map step is the list of its items' results.
    Raises `NotFound`, `RequestError` when the result is not JSON, does not fit the step's output schema or names no child of a decision,
    and `WrongState` when the step is running or has ended well.
    """
    text = result_text(db, task_id, step_name, result)
    return StepState(actions.act(db, "resolve", task_id, step_name, actor=actor, reason=reason, given=text, seen=seen))


def _context_text(db: Database, task_id: str, context: Mapping[str, Any] | None) -> str | None:
    if context is None:
        return None
    about = task_row(db, task_id)
    request = TaskRequest(about.name, about.namespace, about.version, context=context)
    return json_text.dump(checked_context(request, definition(db, about.namespace, about.name, about.version).schema))


def result_text(db: Database, task_id: str, step_name: str, result: Any) -> str:
    """The result as `resolve_step` would keep it for that step. Raises `RequestError` as that does."""
    return _checked(_checked_fit(db, task_id, step_name, result))


def _checked_fit(db: Database, task_id: str, step_name: str, result: Any) -> Any:
    query: LiteralString = """
        select p.output_schema, p.decision, p.for_each is not null and p.name = %(step)s,
               array(select c.name from tasker_template c where c.definition_id = p.definition_id and c.step_no = any(p.children))
          from tasker_tasks t join tasker_template p using (definition_id)
         where t.task_id = %(task)s and p.name = %(template)s
    """
    name = known_step(step_name)
    found = db.rows(query, {"task": known_id(task_id), "step": name, "template": name.partition("[")[0]})
    schema, decision, is_list, children = found[0] if found else (None, False, False, [])
    _refuse_misfits(schema, result, is_list)
    try:
        return chosen(result, children) if decision else result
    except ValueError as error:
        raise RequestError([Problem("", "not_a_branch", str(error))]) from None


def _refuse_misfits(schema: dict[str, Any] | None, result: Any, is_list: bool) -> None:
    if is_list and not isinstance(result, (list, tuple)):
        raise RequestError([Problem("$", "not_a_list", "must be the list of its items' results, as this is a map step")])
    if schema is None:
        return
    misfits = _misfits_of(schema)
    problems = _items_misfits(misfits, result) if is_list else misfits(result, "$")
    if problems:
        raise RequestError(problems, "the result does not fit the step's output schema")


def _items_misfits(misfits: Callable[[Any, str], list[Problem]], results: Sequence[Any]) -> list[Problem]:
    # One by one: a reference such as #/$defs/Page is meant from the root of an item's own schema.
    until, found = time.monotonic() + LIST_SECONDS, list[Problem]()
    for no, result in enumerate(results):
        found += misfits(result, f"$[{no}]")
        if time.monotonic() > until:
            return [*found, Problem("$", "too_costly", f"takes longer than {LIST_SECONDS} s to check against the schema")]
        if len(found) >= MOST_TOLD:
            break
    return found


def _misfits_of(schema: dict[str, Any]) -> Callable[[Any, str], list[Problem]]:
    from engine import schemas  # slow to import, and few steps have one
    from engine.requests import context_schema

    return partial(schemas.check, context_schema(schema))


def _checked(result: Any) -> str:
    problems = json_text.input_problems(result)
    if problems:
        raise RequestError(problems, "the result cannot be stored")
    return json_text.dump(result)
