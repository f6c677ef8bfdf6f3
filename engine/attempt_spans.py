"""The current span of OpenTelemetry while a handler runs: that of its attempt. `engine.trace_ids` sets it; imported only where traces are on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from opentelemetry import context, trace

from engine import trace_ids


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


def enter(task: trace_ids.TaskLike, step: trace_ids.StepLike) -> Callable[[], Any]:
    """The attempt's span is the current one in this context, until the answer is called."""
    token = context.attach(trace.set_span_in_context(AttemptSpan(task, step)))
    return partial(context.detach, token)


def _span_context(task: trace_ids.TaskLike, step: trace_ids.StepLike) -> trace.SpanContext:
    flags = trace.TraceFlags(int(task.traceparent[53:55], 16) if task.traceparent else 1)
    return trace.SpanContext(
        trace_ids.trace_id(task.task_id, task.traceparent), trace_ids.attempt_span(task.task_id, step.name, step.attempt), is_remote=True, trace_flags=flags
    )
