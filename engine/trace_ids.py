"""The ids of traces, made from those of tasks and attempts: whoever knows an attempt knows its span, in any process, and nothing is stored for it.

A task's trace has the task's id, without its dashes, unless the task came with the `traceparent` of a caller. Runners use it where traces are on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import hashlib

IS_ON = os.environ.get("TASKER_TRACES", "").strip().lower() == "on"
"""Whether this process and those that it starts trace."""

_WELL_FORMED = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class TaskLike(Protocol):
    """What is known of a task."""

    task_id: str
    traceparent: str | None


class StepLike(Protocol):
    """What is known of an attempt."""

    attempt: int

    @property
    def name(self) -> str: ...


def is_well_formed(traceparent: str) -> bool:
    """Whether it is a traceparent as W3C Trace Context has it."""
    return _WELL_FORMED.fullmatch(traceparent) is not None


def trace_id(task_id: str, traceparent: str | None) -> int:
    """The trace that the task belongs to."""
    return int(traceparent[3:35] if traceparent else task_id.replace("-", ""), 16)


def caller_span(traceparent: str | None) -> int | None:
    """The span of the caller."""
    return int(traceparent[36:52], 16) if traceparent else None


def task_span(task_id: str) -> int:
    """The span of the task."""
    return _span(task_id)


def attempt_span(task_id: str, step_name: str, attempt: int) -> int:
    """The span of an attempt."""
    return _span(f"{task_id}/{step_name}/{attempt}")


def of_attempt(task: TaskLike, step: StepLike) -> str:
    """The traceparent for what an attempt calls and submits."""
    flags = task.traceparent[53:55] if task.traceparent else "01"
    return f"00-{trace_id(task.task_id, task.traceparent):032x}-{attempt_span(task.task_id, step.name, step.attempt):016x}-{flags}"


def prepare() -> None:
    """Where traces are on, what the first attempt needs is imported: processes that are forked from this one need not do it each."""
    if IS_ON:
        from engine import attempt_spans  # noqa: F401


@cache
def runs() -> Callable[[Callable[[Any, Any, Any], Any], Any, Any, Any], Any]:
    """What runs a handler with the span of its attempt as the current one."""
    # imported where traces are on alone, and not asked for anew by each attempt
    from engine import attempt_spans

    return attempt_spans.run


def _span(name: str) -> int:
    return int.from_bytes(_hash()(name.encode(), digest_size=8).digest()) or 1


@cache
def _hash() -> type[hashlib.blake2b]:
    # loads OpenSSL, for which who traces nothing does not wait; to import it anew for each takes as long as the hash
    from hashlib import blake2b

    return blake2b
