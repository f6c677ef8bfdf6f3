"""The current span of OpenTelemetry while a handler runs: that of its attempt. `engine.trace_ids` sees to it; imported only where traces are on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from opentelemetry import context, trace

from engine import trace_ids
from engine.handlers import ATTEMPT

SPAN_KEY: Final = next(iter(trace.set_span_in_context(trace.INVALID_SPAN, context.Context())))
"""Under which OpenTelemetry keeps the current span."""


class AttemptSpan(trace.NonRecordingSpan):
    """Its ids are made when somebody asks for them: most handlers make no spans."""

    def __init__(self, task: trace_ids.TaskLike, step: trace_ids.StepLike) -> None:
        self._task, self._step = task, step
        self._known: trace.SpanContext | None = None

    def get_span_context(self) -> trace.SpanContext:
        """Where in its trace the attempt stands."""
        if self._known is None:
            self._known = _span_context(self._task, self._step)
        return self._known

    def __repr__(self) -> str:
        return f"AttemptSpan({self.get_span_context()!r})"


class AttemptContext(context.Context):
    """An empty context of OpenTelemetry, in which whoever asks for the current span gets that of the attempt that runs: it is set once for all attempts."""

    def get(self, key: str, default: Any = None) -> Any:
        """The span of the attempt, where there is one and its span is asked for."""
        attempt = ATTEMPT.get() if key == SPAN_KEY else None
        return default if attempt is None else AttemptSpan(*attempt)

    def copy(self) -> dict[str, object]:
        """What a context that is derived from this one begins with."""
        attempt = ATTEMPT.get()
        return {} if attempt is None else {SPAN_KEY: AttemptSpan(*attempt)}


def enter(task: trace_ids.TaskLike, step: trace_ids.StepLike) -> Callable[[], Any] | None:
    """The span of the attempt, which is in `ATTEMPT`, is the current one in this context; until the answer is called, where there is one to call."""
    current = context.get_current()
    if isinstance(current, AttemptContext):
        return None
    if not current:
        context.attach(AttemptContext())  # for good: it is as empty as the former outside of attempts
        return None
    return partial(context.detach, context.attach(trace.set_span_in_context(AttemptSpan(task, step))))


def _span_context(task: trace_ids.TaskLike, step: trace_ids.StepLike) -> trace.SpanContext:
    flags = trace.TraceFlags(int(task.traceparent[53:55], 16) if task.traceparent else 1)
    return trace.SpanContext(
        trace_ids.trace_id(task.task_id, task.traceparent), trace_ids.attempt_span(task.task_id, step.name, step.attempt), is_remote=True, trace_flags=flags
    )
