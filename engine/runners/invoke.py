"""One attempt of one step, in whatever thread or process a runner chose: call the handler, tell what became of it.

Nothing that a handler does gets past this function, save what ends the whole process and what its caller lets escape.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextvars import copy_context
from types import FrameType, TracebackType
from typing import Any

from engine import json_text, objects, trace_ids
from engine.binding import Binding, bindings
from engine.definition import StepTemplate, TaskDefinition, chosen
from engine.errors import DefinitionError, PermanentError, RetryableError, delay_seconds
from engine.handlers import ATTEMPT, Contact, Sequence, Step, Task
from engine.hiding import redaction
from engine.hiding.masking import clean, clean_message, cut
from engine.journal import NOWHERE
from engine.runners import COMPLETED, DECIDED, FAILED, STORED, Item

MAX_TRACEBACK = 16 << 10
MAX_FRAMES = 40
MAX_CAUSES = 4

_RUNNERS = os.path.dirname(os.path.abspath(__file__))
_ENGINE_FILES = [os.path.join(os.path.dirname(_RUNNERS), f"{name}.py") for name in ("binding", "handlers", "http", "json_text", "objects")]
_NOT_THE_AUTHORS = (_RUNNERS, *_ENGINE_FILES, os.path.join(os.path.dirname(os.__file__), "asyncio", ""))


def invoke(
    definition: TaskDefinition,
    template_no: int,
    attempt: int,
    retry_limit: int,
    task_public_id: str,
    context_json: str,
    correlation_id: str | None,
    inputs: Mapping[str, str],
    lookup: Callable[[list[str]], Mapping[str, str]],
    contact: Contact | None = None,
    item: Item | None = None,
    traceparent: str | None = None,
    escapes: tuple[type[BaseException], ...] = (),
) -> tuple[int, str]:
    """Run the step's handler once: (COMPLETED or DECIDED, result as JSON), (STORED, what stands for it) or (FAILED, error as JSON).

    `inputs` are the parents' results as JSON text by name; `lookup` fetches those of farther ancestors.
    `contact` tells the handler whether it was asked to stop, and takes what it says while it runs.
    Raises nothing but what of the handler's own exceptions is one of `escapes`.
    """
    try:
        binding: Binding = (definition.caches.get("bindings") or bindings(definition))[template_no]
    except DefinitionError as error:
        return FAILED, failure("handler_missing", str(error))
    if binding.run is None:
        return COMPLETED, "null"
    template: StepTemplate = binding.template
    task = Task(task_public_id, correlation_id, definition, context_json, traceparent)
    step = Step(template, attempt, retry_limit, contact) if item is None else Step(template, attempt, retry_limit, contact, item.place, item.json)
    step.given = task, Sequence(definition, template.name, inputs, lookup)
    limit = None if template.timeout is None else objects.UNTIL.set(objects.end_within(template.timeout))
    try:
        return _judge(definition, binding, template_no, task_public_id, _run(binding.run, step, *step.given), is_item=item is not None)
    except escapes:
        raise
    except json_text.ResultRejected as error:
        return FAILED, failure(error.kind, _discreet(str(error), _secrets(step)))
    except BaseException as error:  # SystemExit too: a handler may end its step, not the engine
        return FAILED, _explain(error, template, _secrets(step))
    finally:
        if limit is not None:
            objects.UNTIL.reset(limit)


def _run(handler: Callable[[Task, Sequence, Step], Any], step: Step, task: Task, sequence: Sequence) -> Any:
    """What the handler returns or raises. Once it has, nothing that it left behind can speak for the attempt."""
    token = ATTEMPT.set((task, step))
    run = copy_context().run  # what it sets in its context must not hit the thread's next step
    try:
        return run(trace_ids.runs(), handler, task, sequence, step) if trace_ids.IS_ON else run(handler, task, sequence, step)
    finally:
        ATTEMPT.reset(token)
        journal, step.journal = step.journal, NOWHERE  # what a thread that it left behind says is no longer its own
        if journal is not None:
            journal.close()


def _judge(definition: TaskDefinition, binding: Binding, template_no: int, task_id: str, result: Any, *, is_item: bool) -> tuple[int, str]:
    """What the result makes of the attempt. Raises `ResultRejected` for what cannot be kept."""
    if binding.template.decision:
        return _decide(definition, binding, template_no, result)
    if result is None and binding.output is None:
        return COMPLETED, "null"
    if (keeper := objects.keeper()) is not None and not is_item:
        return _accept_large(keeper, definition, binding, binding.template.name, task_id, result)
    return _accept(binding, json_text.write_result(result))


def failure(
    kind: str, message: str, *, code: str | None = None, retryable: bool = False, delay: float | None = None, trace: str = "", uncharged: bool = False
) -> str:
    """The JSON of a failed attempt; of an `uncharged` one, which was not the handler's fault, the step waits for `delay` and has the attempt again."""
    fields = {"type": kind, "message": clean_message(message), "code": code, "retryable": retryable, "delay": delay, "traceback": trace}
    return json_text.dump(fields | {"uncharged": True} if uncharged else fields)


def is_uncharged(payload: str) -> bool:
    """Whether that failure is uncharged."""
    return '"uncharged":true' in payload  # no text holds it: its quotes are escaped there


def _decide(definition: TaskDefinition, binding: Binding, template_no: int, result: Any) -> tuple[int, str]:
    kind, text = _accept(binding, json_text.write_result(result))
    if kind == FAILED:
        return kind, text
    children = [definition.steps[no].name for no in definition.children(template_no)]
    try:
        return DECIDED, json_text.dump(chosen(json_text.load(text), children))
    except ValueError as error:
        return FAILED, failure("not_a_branch", str(error))


def _accept(binding: Binding, text: str) -> tuple[int, str]:
    if binding.output is None:
        return COMPLETED, text
    from engine import schemas

    problems = schemas.check(binding.output, json_text.load(text))
    if not problems:
        return COMPLETED, text
    listed = "\n".join(str(problem) for problem in problems[:20])
    return FAILED, failure("output_schema", f"the result does not match the step's output_schema:\n{listed}")


def _accept_large(keeper: objects.Keeper, definition: TaskDefinition, binding: Binding, name: str, task_id: str, result: Any) -> tuple[int, str]:
    kind, text = _accept(binding, json_text.write_result(result, objects.MAX_BYTES))
    if kind == FAILED or json_text.byte_count(text) <= keeper.threshold:
        return kind, text
    if definition.feeds_map(name):  # whose items the database makes out of the result
        return COMPLETED, json_text.need_small(text)
    return STORED, keeper.put_at_last(definition.namespace, task_id, text)


def _secrets(step: Step) -> frozenset[str]:
    try:
        return step.secrets()
    except Exception:  # the failure itself is to be told all the same; that its own values are unreadable is part of it
        return frozenset()


def _discreet(text: str, secrets: frozenset[str]) -> str:
    return redaction.scrubbed(text, secrets)


def _explain(error: BaseException, template: StepTemplate, secrets: frozenset[str]) -> str:
    retryable = isinstance(error, RetryableError) or (bool(template.retry_on) and isinstance(error, template.retry_on))
    try:
        return failure(
            _type_name(error),
            _discreet(_message(error), secrets),
            code=_code(error, secrets),
            retryable=retryable,
            delay=delay_seconds(error.delay) if isinstance(error, RetryableError) else None,
            trace=_trace(error, secrets),
            uncharged=isinstance(error, objects.StoreFailed),
        )
    except BaseException as second:  # the exception is the author's, and may have properties that raise whatever they like
        return failure(_type_name(error), f"(no details: telling them raised {type(second).__name__})", retryable=retryable)


def _code(error: BaseException, secrets: frozenset[str]) -> str | None:
    code = error.error_code if isinstance(error, PermanentError) else None
    return None if code is None else _discreet(clean_message(str(code)), secrets)[:200]


def _type_name(error: BaseException) -> str:
    return clean(type(error).__name__)[:200]


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as second:
        return f"(no message: its str() raised {type(second).__name__})"


def _trace(error: BaseException, secrets: frozenset[str]) -> str:
    try:
        text = _discreet("\n".join(_chapters(error)), secrets)
    except Exception as second:
        return f"(no traceback: {type(second).__name__})"
    return cut(clean(text), MAX_TRACEBACK)


def _chapters(error: BaseException) -> Iterator[str]:
    """The failure first, then what it came from."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(seen) < MAX_CAUSES:
        lead = "which came from\n" if seen else ""
        seen.add(id(current))
        yield f"{lead}{''.join(_frames(current.__traceback__))}{_type_name(current)}: {cut(_message(current)[:2000], 1000)}"
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _frames(trace: TracebackType | None) -> Iterator[str]:
    frames = [pair for pair in traceback.walk_tb(trace) if not pair[0].f_code.co_filename.startswith(_NOT_THE_AUTHORS)]
    hidden = len(frames) - MAX_FRAMES
    if hidden <= 0:
        yield from _formatted(frames)
        return
    yield from _formatted(frames[: MAX_FRAMES // 2])
    yield f"  ... {hidden:,} more ...\n"
    yield from _formatted(frames[-MAX_FRAMES // 2 :])


def _formatted(frames: list[tuple[FrameType, int]]) -> list[str]:
    return traceback.StackSummary.extract(iter(frames)).format()
