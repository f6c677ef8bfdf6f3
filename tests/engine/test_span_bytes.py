"""A span's bytes are what OpenTelemetry's own messages have for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span, Status

from engine import trace_ids
from engine.traces.span_bytes import Ending, request_bytes, span_bytes

TASK = "0b6f6e0c-1234-4a3b-8c1d-0123456789ab"
CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
BEGAN = datetime(2026, 3, 1, 10, 30, 0, 123456, tzinfo=UTC)
ENDED = BEGAN + timedelta(seconds=1, microseconds=5)
NANOSECONDS = 1_772_361_000_123_456_000


def an_ending(**fields: Any) -> Ending:
    known = {"task_id": TASK, "traceparent": None, "namespace": "shop", "task_name": "order", "version": "1.0.0", "correlation_id": None,
             "step_name": "charge", "state": "completed", "attempt": 1, "engine": "host:7", "began_at": BEGAN, "ended_at": ENDED, "retry_at": None,
             "error_type": None, "error_message": None}  # fmt: skip
    return Ending(**{**known, **fields})


def read(ending: Ending) -> Span:
    found: list[Span] = list(ScopeSpans.FromString(span_bytes(ending)).spans)
    assert len(found) == 1
    return found[0]


def facts(**known: str | int | float) -> list[KeyValue]:
    return [KeyValue(key=name.replace("__", "."), value=_value(value)) for name, value in known.items()]


def _value(value: str | float) -> AnyValue:
    if isinstance(value, str):
        return AnyValue(string_value=value)
    return AnyValue(int_value=value) if isinstance(value, int) else AnyValue(double_value=value)


def by_name(attributes: Any) -> list[KeyValue]:
    return sorted(attributes, key=lambda each: each.key)


def test_an_attempt_that_is_made_again_has_its_failure_and_its_back_off() -> None:
    retry_at = ENDED + timedelta(seconds=2.5)
    span = read(an_ending(state="retrying", attempt=300, correlation_id="edge-7", retry_at=retry_at, error_type="Busy", error_message="größer\nals " + "x" * 200))
    wanted = Span(
        trace_id=bytes.fromhex(TASK.replace("-", "")),
        span_id=trace_ids.attempt_span(TASK, "charge", 300).to_bytes(8, "big"),
        parent_span_id=trace_ids.task_span(TASK).to_bytes(8, "big"),
        name="charge",
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=NANOSECONDS,
        end_time_unix_nano=NANOSECONDS + 1_000_005_000,
        attributes=by_name(
            facts(tasker__namespace="shop", tasker__workflow="order", tasker__version="1.0.0", tasker__task_id=TASK, tasker__correlation_id="edge-7", tasker__step="charge")
            + facts(tasker__attempt=300, tasker__engine="host:7", tasker__state="retrying", error__type="Busy")
        ),
        events=[
            Span.Event(name="exception", time_unix_nano=NANOSECONDS + 1_000_005_000, attributes=facts(exception__type="Busy", exception__message="größer\nals " + "x" * 200)),
            Span.Event(
                name="retry", time_unix_nano=NANOSECONDS + 1_000_005_000, attributes=facts(tasker__back_off_seconds=2.5, tasker__retry_at=retry_at.isoformat())
            ),
        ],
        status=Status(code=Status.STATUS_CODE_ERROR, message="Busy"),
    )
    ordered = Span(attributes=by_name(span.attributes))
    span.ClearField("attributes")
    span.MergeFrom(ordered)
    assert span == wanted


def test_a_task_is_below_its_caller_and_consumes() -> None:
    span = read(an_ending(step_name=None, attempt=None, engine=None, traceparent=CALLER))
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (CALLER[3:35], CALLER[36:52])
    assert (span.span_id, span.name, span.kind) == (trace_ids.task_span(TASK).to_bytes(8, "big"), "shop/order", Span.SPAN_KIND_CONSUMER)
    assert not span.HasField("status")
    assert not span.events


def test_a_task_without_a_caller_has_no_parent() -> None:
    assert read(an_ending(step_name=None, attempt=None)).parent_span_id == b""


def test_a_span_never_ends_before_it_began() -> None:
    span = read(an_ending(began_at=ENDED + timedelta(seconds=1)))
    assert span.start_time_unix_nano == span.end_time_unix_nano


@pytest.mark.parametrize("count", [0, 1, 127, 128, 1000])
def test_a_request_has_every_span(count: int) -> None:
    endings = [an_ending(step_name=f"part_{number}") for number in range(count)]
    resource, scope = Resource(attributes=facts(service__name="tasker")), InstrumentationScope(name="tasker")
    body = request_bytes(resource.SerializeToString(), scope.SerializeToString(), map(span_bytes, endings))
    (told,) = ExportTraceServiceRequest.FromString(body).resource_spans
    assert (told.resource, told.scope_spans[0].scope) == (resource, scope)
    assert [span.name for span in told.scope_spans[0].spans] == [ending.step_name for ending in endings]
