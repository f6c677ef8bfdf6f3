from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from least import least_seconds

from engine.errors import Problem, RequestError
from engine.requests import TaskRequest, checked_context

ORDER = {
    "type": "object",
    "required": ["order_id", "items"],
    "additionalProperties": False,
    "properties": {
        "order_id": {"type": "integer"},
        "priority": {"type": "string", "enum": ["normal", "high"], "default": "normal"},
        "items": {"type": "array", "items": {"type": "object", "properties": {"sku": {"type": "string"}, "count": {"type": "integer", "default": 1}}}},
        "when": {"type": "string", "format": "date-time"},
    },
}


def refused(**fields: Any) -> list[tuple[str, str]]:
    with pytest.raises(RequestError) as raised:
        TaskRequest.of({"name": "order", **fields})
    return [(problem.path, problem.code) for problem in raised.value.problems]


def against(schema: dict[str, Any], context: dict[str, Any]) -> list[Problem]:
    with pytest.raises(RequestError) as raised:
        checked_context(TaskRequest("order", context=context), schema)
    return raised.value.problems


# The request


def test_a_request_takes_its_fields_in_the_published_order() -> None:
    assert [one.name for one in fields(TaskRequest)][:13] == [
        "name", "namespace", "version", "context", "initiator", "source_system", "reason", "tags", "priority", "bypass_steps", "correlation_id", "idempotency_key", "run_at",
    ]  # fmt: skip


def test_a_request_has_the_published_defaults() -> None:
    request = TaskRequest("order")
    assert (request.namespace, request.version, request.context, request.tags, request.priority, request.bypass_steps) == ("default", None, {}, (), 0, ())
    assert request.initiator is request.run_at is request.idempotency_key is None


def test_values_are_brought_into_one_form() -> None:
    east = timezone(timedelta(hours=2))
    assert TaskRequest("order", run_at=datetime(2030, 1, 1, 12)).run_at == datetime(2030, 1, 1, 12, tzinfo=UTC)  # noqa: DTZ001
    assert TaskRequest("order", run_at=datetime(2030, 1, 1, 12, tzinfo=east)).run_at == datetime(2030, 1, 1, 10, tzinfo=UTC)
    assert TaskRequest.of({"name": "order", "run_at": "2030-01-01T12:00:00Z"}).run_at == datetime(2030, 1, 1, 12, tzinfo=UTC)
    assert TaskRequest.of({"name": "order", "tags": ["a", "b", "a"], "bypass_steps": ["x"]}).tags == ("a", "b")


@pytest.mark.parametrize(
    ("fields", "path", "code"),
    [
        ({"name": "Order"}, "name", "bad_name"),
        ({"namespace": ""}, "namespace", "bad_name"),
        ({"version": "1.0"}, "version", "bad_version"),
        ({"version": 1.0}, "version", "bad_version"),
        ({"context": None}, "context", "bad_type"),
        ({"context": [1]}, "context", "bad_type"),
        ({"priority": 1.0}, "priority", "bad_type"),
        ({"priority": True}, "priority", "bad_type"),
        ({"priority": 10**9}, "priority", "out_of_range"),
        ({"tags": "urgent"}, "tags", "bad_type"),
        ({"tags": ["a", 3]}, "tags[1]", "bad_type"),
        ({"tags": [" "]}, "tags[0]", "empty"),
        ({"tags": ["x"] * 51}, "tags", "too_many"),
        ({"tags": ["a" * 101]}, "tags[0]", "too_large"),
        ({"reason": "a\0b"}, "reason", "control_character"),
        ({"initiator": "\ud800"}, "initiator", "control_character"),
        ({"source_system": "x" * 1001}, "source_system", "too_large"),
        ({"idempotency_key": ""}, "idempotency_key", "empty"),
        ({"idempotency_key": "k" * 300}, "idempotency_key", "too_large"),
        ({"correlation_id": 5}, "correlation_id", "bad_type"),
        ({"correlation_id": "a\r\nX-Other: b"}, "correlation_id", "control_character"),
        ({"idempotency_key": "a\tb"}, "idempotency_key", "control_character"),
        ({"tags": ["a\u2028b"]}, "tags[0]", "control_character"),
        ({"run_at": "tomorrow"}, "run_at", "bad_time"),
        ({"run_at": 5}, "run_at", "bad_type"),
        ({"run_at": "0001-01-01T00:00:00+14:00"}, "run_at", "out_of_range"),
        ({"role": "admin"}, "role", "unknown_key"),
        ({"context": {"a": "x\0"}}, "$.a", "nul_character"),
        ({"context": {"a\0": 1}}, "$", "nul_character"),
        ({"context": {"a": ["\ud800"]}}, "$.a[0]", "lone_surrogate"),
        ({"context": {"a": float("nan")}}, "$.a", "not_finite"),
        ({"context": {"a": 2**63}}, "$.a", "number_too_large"),
        ({"context": {"a": {1: 2}}}, "$.a", "not_json"),
        ({"context": {"odd key": {1, 2}}}, '$["odd key"]', "not_json"),
        ({"context": {"a": datetime(2030, 1, 1, tzinfo=UTC)}}, "$.a", "not_json"),
        ({"context": {"a": "x" * (256 * 1024 + 1)}}, "$.a", "too_large"),
        ({"context": {"a": ["x" * 250_000] * 5}}, "$", "too_large"),
        ({"context": {"a": list(range(10_001))}}, "$", "too_many_values"),
    ],
)
def test_a_bad_field_is_refused_by_its_path(fields: dict[str, Any], path: str, code: str) -> None:
    assert refused(**fields) == [(path, code)]


def test_all_bad_fields_are_told_at_once() -> None:
    with pytest.raises(RequestError) as raised:
        TaskRequest("Order", version="x", priority=True, tags="a")  # type: ignore[arg-type]
    assert [problem.path for problem in raised.value.problems] == ["name", "version", "tags", "priority"]
    assert refused(nmae="x", priority="1") == [("nmae", "unknown_key"), ("priority", "bad_type")]


def test_a_request_needs_a_name() -> None:
    with pytest.raises(RequestError, match="is required"):
        TaskRequest.of({"namespace": "shop"})


def test_nesting_is_limited_whatever_its_shape() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}
    assert refused(context=deep)[0][1] == "too_deep"
    circular: dict[str, Any] = {}
    circular["a"] = circular
    assert refused(context=circular)[0][1] == "too_deep"


def test_what_the_caller_changes_later_does_not_reach_the_task() -> None:
    context = {"items": [1]}
    request = TaskRequest("order", context=context)
    context["items"].append(2)
    assert request.context == {"items": [1]}


# The context against the schema


def test_defaults_are_filled_in_and_stored() -> None:
    request = TaskRequest("order", context={"order_id": 7, "items": [{"sku": "a"}, {"sku": "b", "count": 3}]})
    assert checked_context(request, ORDER) == {
        "order_id": 7,
        "items": [{"sku": "a", "count": 1}, {"sku": "b", "count": 3}],
        "priority": "normal",
    }
    assert "priority" not in request.context


def test_every_violation_is_told_with_its_path() -> None:
    found = against(ORDER, {"order_id": True, "priority": "hihg", "items": [{"count": "3"}], "prioritty": 1, "when": "soon"})
    assert [(problem.path, problem.code) for problem in found] == [
        ("$.items[0].count", "type"),
        ("$.order_id", "type"),
        ("$.prioritty", "unknown_key"),
        ("$.priority", "enum"),
        ("$.when", "format"),
    ]
    assert "did you mean 'priority'?" in found[2].message


def test_what_is_missing_is_told_by_the_path_it_should_have() -> None:
    assert [(problem.path, problem.code) for problem in against(ORDER, {})] == [("$.items", "missing"), ("$.order_id", "missing")]


def test_a_whole_float_counts_as_an_integer_and_true_does_not() -> None:
    schema = {"properties": {"n": {"type": "integer"}}}
    assert checked_context(TaskRequest("order", context={"n": 1.0}), schema) == {"n": 1.0}
    assert [problem.code for problem in against(schema, {"n": True})] == ["type"]


def test_without_a_schema_any_object_will_do() -> None:
    assert checked_context(TaskRequest("order", context={"a": [None, {"b": 1.5}]}), None) == {"a": [None, {"b": 1.5}]}


def test_a_default_reached_by_a_reference_is_filled_in() -> None:
    schema = {"$defs": {"a": {"type": "object", "properties": {"x": {"default": 1}}}}, "properties": {"a": {"$ref": "#/$defs/a"}, "b": {"default": {}, "allOf": [{"$ref": "#/$defs/a"}]}}}
    assert checked_context(TaskRequest("order", context={"a": {}}), schema) == {"a": {"x": 1}, "b": {"x": 1}}


def test_defaults_that_never_end_are_a_problem_not_a_hang() -> None:
    schema = {"properties": {"child": {"$ref": "#", "default": {}}}}
    assert against(schema, {})[0].code == "too_deep"
    twice = {"properties": {"a": {"$ref": "#", "default": {}}, "b": {"$ref": "#", "default": {}}}}
    assert against(twice, {})[0].code == "too_costly"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"pattern": "(a+)+$"}, "a" * 200_000 + "b"),
        ({"pattern": "^(a|a)*$"}, "a" * 200_000 + "b"),
        ({"uniqueItems": True}, [{"a": no} for no in range(4_000)]),
        ({"items": {"anyOf": [{"const": -no} for no in range(1, 3_000)]}}, list(range(1, 3_000))),
    ],
)
def test_no_value_takes_long_to_check(schema: dict[str, Any], value: Any) -> None:
    request = TaskRequest("order", context={"a": value})
    assert least_seconds(lambda: checked_context(request, {"properties": {"a": schema}}), 0.3) <= 0.3
