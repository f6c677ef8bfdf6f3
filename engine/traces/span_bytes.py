"""Spans of attempts and tasks as the bytes that OTLP has for them. `engine.traces.tracing` asks for them, `engine.traces.otlp` sends them.

Written by hand: most of a span is the same in thousands of others and is made once, which a message of protobuf cannot share.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple

from engine import trace_ids
from engine.hiding.masking import clean_message

INTERNAL, CONSUMER, ERROR = 1, 5, 2
"""Kinds of spans, and the state of one that failed, as OTLP numbers them."""

_BAD: Final = ("failed", "retrying")
_TIMES: Final = struct.Struct("<BQBQ")
_TIME: Final = struct.Struct("<BQ")
_DOUBLE: Final = struct.Struct("<Bd")

Fact = tuple[str, str | int | float | None]


class Ending(NamedTuple):
    """What a span tells."""

    task_id: str
    traceparent: str | None
    namespace: str
    task_name: str
    version: str
    correlation_id: str | None
    step_name: str | None
    state: str
    attempt: int | None
    engine: str | None
    began_at: datetime
    ended_at: datetime
    retry_at: datetime | None
    error_type: str | None
    error_message: str | None


def span_bytes(ending: Ending) -> bytes:
    """The span of an attempt or a task, as an entry of a `ScopeSpans`: both have ended by then, so nothing of it is ever open."""
    task_id, step_name = ending.task_id, ending.step_name
    trace, below_task, of_task, above_task = _of_task(task_id, ending.traceparent, ending.correlation_id)
    alike = _alike(ending.namespace, ending.task_name, ending.version, step_name, ending.state, ending.attempt, ending.engine)
    ended = _nanoseconds(ending.ended_at)
    times = _TIMES.pack(0x39, min(_nanoseconds(ending.began_at), ended), 0x41, ended)
    if step_name is None:
        body = b"".join((trace, above_task, alike, times, of_task))
    else:
        own = trace_ids.attempt_span(task_id, step_name, ending.attempt or 0).to_bytes(8, "big")
        body = b"".join((trace, b"\x12\x08", own, below_task, alike, times, of_task))
    if ending.error_type or ending.retry_at or ending.state in _BAD:
        body += _trouble(ending, ended)
    return _field(2, body)


def request_bytes(resource: bytes, scope: bytes, spans: Iterable[bytes]) -> bytes:
    """An `ExportTraceServiceRequest` with entries that `span_bytes` has made."""
    return _field(1, _field(1, resource) + _field(2, _field(1, scope) + b"".join(spans)))


@lru_cache(maxsize=4096)
def _of_task(task_id: str, traceparent: str | None, correlation_id: str | None) -> tuple[bytes, bytes, bytes, bytes]:
    """What the spans of one task share: its trace, the task's span as a parent, attributes; and the task's own ids."""
    trace, own, caller = trace_ids.trace_id(task_id, traceparent), trace_ids.task_span(task_id).to_bytes(8, "big"), trace_ids.caller_span(traceparent)
    above = b"" if caller is None else _field(4, caller.to_bytes(8, "big"))
    shared = _facts(9, (("tasker.task_id", task_id), ("tasker.correlation_id", correlation_id)))
    return _field(1, trace.to_bytes(16, "big")), _field(4, own), shared, _field(2, own) + above


@lru_cache(maxsize=4096)
def _alike(namespace: str, task_name: str, version: str, step_name: str | None, state: str, attempt: int | None, engine: str | None) -> bytes:
    """What a span shares with those of the same step in other tasks: its name, its kind and attributes."""
    known: tuple[Fact, ...] = (
        ("tasker.namespace", namespace),
        ("tasker.workflow", task_name),
        ("tasker.version", version),
        ("tasker.step", step_name),
        ("tasker.attempt", attempt),
        ("tasker.engine", engine),
        ("tasker.state", state),
    )
    name = step_name or f"{namespace}/{task_name}"
    return _text(5, name) + _number(6, CONSUMER if step_name is None else INTERNAL) + _facts(9, known)


def _trouble(ending: Ending, ended: int) -> bytes:
    """What the attempt failed with, and that another is set and after which back-off."""
    body = _facts(9, (("error.type", ending.error_type),))
    if ending.error_type:
        body += _event("exception", ended, (("exception.type", ending.error_type), ("exception.message", clean_message(ending.error_message or ""))))
    if ending.retry_at:
        back_off = max(0.0, (ending.retry_at - ending.ended_at).total_seconds())
        body += _event("retry", ended, (("tasker.back_off_seconds", back_off), ("tasker.retry_at", ending.retry_at.isoformat())))
    if ending.state in _BAD:
        body += _field(15, _text(2, ending.error_type or ending.state) + _number(3, ERROR))
    return body


def _nanoseconds(moment: datetime) -> int:
    # whole seconds first: a float has no room for the nanoseconds of today
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1_000


# ---- protobuf: a field is its number and type, then a length and content, or a number


def _event(name: str, at: int, facts: Iterable[Fact]) -> bytes:
    return _field(11, _TIME.pack(0x09, at) + _text(2, name) + _facts(3, facts))


def _facts(number: int, facts: Iterable[Fact]) -> bytes:
    """The attributes that have a value."""
    return b"".join(_field(number, _text(1, name) + _field(2, _value(value))) for name, value in facts if value is not None)


def _value(value: str | int | float) -> bytes:
    if isinstance(value, str):
        return _text(1, value)
    return _number(3, value) if isinstance(value, int) else _DOUBLE.pack(0x21, value)


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode("utf-8", "replace"))


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _field(number: int, content: bytes) -> bytes:
    return b"".join((_varint(number << 3 | 2), _varint(len(content)), content))


@lru_cache(maxsize=4096)
def _varint(value: int) -> bytes:
    value &= 0xFFFFFFFFFFFFFFFF  # below nought counts as from the end
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
