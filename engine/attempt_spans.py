"""The current span of OpenTelemetry while a handler runs: that of its attempt. `engine.runners.invoke` runs it so; imported only where traces are on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from opentelemetry import context, trace

from engine import trace_ids

Handler = Callable[[Any, Any, Any], Any]

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
    """OpenTelemetry's context of the attempt `of` a task's step. Its span is made when somebody asks for it."""

    __slots__ = ("_span", "of")

    of: tuple[trace_ids.TaskLike, trace_ids.StepLike]
    _span: AttemptSpan

    def get(self, key: str, default: Any = None) -> Any:
        """What is kept under the key."""
        return self._own() if key == SPAN_KEY else super().get(key, default)

    def copy(self) -> dict[str, object]:
        """What a context that is derived from this one begins with."""
        return {**self, SPAN_KEY: self._own()}

    def _own(self) -> AttemptSpan:
        try:
            return self._span
        except AttributeError:
            self._span = AttemptSpan(*self.of)
            return self._span


def run(handler: Handler, task: Any, sequence: Any, step: Any) -> Any:
    """What the handler returns or raises; the span of its attempt is the current one from now on in this context, which is to be the attempt's own."""
    own = AttemptContext(context.get_current())
    own.of = task, step
    context.attach(own)
    return handler(task, sequence, step)


def _span_context(task: trace_ids.TaskLike, step: trace_ids.StepLike) -> trace.SpanContext:
    flags = trace.TraceFlags(int(task.traceparent[53:55], 16) if task.traceparent else 1)
    return trace.SpanContext(
        trace_ids.trace_id(task.task_id, task.traceparent), trace_ids.attempt_span(task.task_id, step.name, step.attempt), is_remote=True, trace_flags=flags
    )
