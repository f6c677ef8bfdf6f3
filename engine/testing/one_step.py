"""One handler called as the engine would call it, without a database."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

from engine import json_text, logs, models
from engine.binding import bindings
from engine.definition import StepTemplate, TaskDefinition
from engine.errors import PermanentError
from engine.handlers import ATTEMPT, Sequence, Step, Task
from engine.requests import TaskRequest
from engine.testing.said import Contact, Said

STEP_NAME = "step"
_ITEMS = "items-under-test"
_NOT_GIVEN: Any = object()


def run_step(
    handler: Any,
    context: Mapping[str, Any] | None = None,
    results: Mapping[str, Any] | None = None,
    attempt: int = 1,
    *,
    name: str = STEP_NAME,
    retry_limit: int = 3,
    handler_config: Mapping[str, Any] | None = None,
    output_schema: Mapping[str, Any] | None = None,
    correlation_id: str | None = None,
    cancel_requested: bool = False,
    item: Any = _NOT_GIVEN,
    index: int = 0,
    said: Said | None = None,
) -> Any:
    """The handler's result as it would be stored; whatever the handler raises is raised.

    `results` are those of the steps before it, by name; with `item` it runs as that item of a map step, and `said` takes its progress and log. A result that cannot be stored, or that does not match
    `output_schema`, raises PermanentError with the error type as its `error_code`.
    """
    earlier = {step: _stored(value) for step, value in (results or {}).items()}
    own = StepTemplate(
        name if name not in earlier else f"{name}-under-test",
        handler_class=handler,
        depends_on_steps=[*earlier, *([] if item is _NOT_GIVEN else [_ITEMS])],
        for_each=None if item is _NOT_GIVEN else _ITEMS,
        handler_config=handler_config,
        output_schema=output_schema,
    )
    definition = TaskDefinition("testing", "run_step", steps=(*map(StepTemplate, earlier), *([] if item is _NOT_GIVEN else [StepTemplate(_ITEMS)]), own))
    if (model := models.context_model(handler)) is not None:
        definition.caches["model"] = model
    binding = bindings(definition)[definition.numbers[own.name]]
    if binding.run is None:
        return None
    request = TaskRequest("run_step", context=context or {})
    task = Task(str(uuid.uuid4()), correlation_id, definition, json_text.dump(request.context))
    contact = Contact((said or Said()).hear, asked_to_stop=cancel_requested)
    step = Step(own, attempt, retry_limit, contact) if item is _NOT_GIVEN else Step(own, attempt, retry_limit, contact, index, _stored(item))
    with _as_attempt(task, step):
        result = copy_context().run(binding.run, task, Sequence(definition, own.name, earlier, _nothing), step)
    return _checked(binding.output, json_text.load(_stored(result)))


@contextmanager
def _as_attempt(task: Task, step: Step) -> Iterator[None]:
    with logs.captured():
        token = ATTEMPT.set((task, step))
        try:
            yield
        finally:
            ATTEMPT.reset(token)
            if step.journal is not None:
                step.journal.close()


def _nothing(names: list[str]) -> dict[str, str]:
    return {}


def _stored(value: Any) -> str:
    try:
        return json_text.write_result(value)
    except json_text.ResultRejected as error:
        raise PermanentError(str(error), error_code=error.kind) from None


def _checked(output: Any, result: Any) -> Any:
    if output is None:
        return result
    from engine import schemas

    problems = schemas.check(output, result)
    if problems:
        raise PermanentError("\n".join(map(str, problems)), error_code="output_schema")
    return result
