"""What a schema itself may say."""

import re
import socket
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import patterns
from engine.schemas import ContextSchema, check, schema_problems


@pytest.mark.parametrize(
    ("schema", "path", "code"),
    [
        ({"type": "objekt"}, "schema.type", "bad_schema"),
        ({"properties": {"a": {"minimum": "3"}}}, "schema.properties.a.minimum", "bad_schema"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "schema.$schema", "bad_schema_dialect"),
        ({"$ref": "http://127.0.0.1:9/x"}, "schema.$ref", "remote_ref"),
        ({"items": {"$ref": "file:///etc/passwd"}}, "schema.items.$ref", "remote_ref"),
        ({"$ref": "other.json"}, "schema.$ref", "remote_ref"),
        ({"$ref": "#/$defs/none"}, "schema.$ref", "unknown_ref"),
        ({"$ref": "#nowhere"}, "schema", "unknown_ref"),
        ({"$ref": "#"}, "schema", "schema_loop"),
        ({"properties": {"a": {"$ref": "#", "default": {}}}}, "schema", "schema_loop"),
        ({"properties": {"a": {"pattern": "(a"}}}, "schema.properties.a.pattern", "bad_pattern"),
        ({"pattern": "(?=a)"}, "schema.pattern", "pattern_too_costly"),
        ({"pattern": r"(a)\1"}, "schema.pattern", "pattern_too_costly"),
        ({"pattern": "a{100000}"}, "schema.pattern", "pattern_too_costly"),
        ({"patternProperties": {"^(a": {}}}, "schema.patternProperties", "bad_pattern"),
        ({"patternProperties": {"^a": {}}, "unevaluatedProperties": False}, "schema", "schema_too_costly"),
        ({"properties": {"default": {"pattern": "(a"}}}, "schema.properties.default.pattern", "bad_pattern"),
        ({"patternProperties": {"const": {"pattern": "(a"}}}, "schema.patternProperties.const.pattern", "bad_pattern"),
        ({"$defs": {"enum": {"$ref": "other.json"}}}, 'schema["$defs"].enum.$ref', "remote_ref"),
        ({"dependentSchemas": {"examples": {"pattern": "(a"}}}, "schema.dependentSchemas.examples.pattern", "bad_pattern"),
        ({"properties": {"properties": {"properties": {"default": {"pattern": "(a"}}}}}, "schema.properties.properties.properties.default.pattern", "bad_pattern"),
    ],
)
def test_an_unfit_schema_is_refused(schema: dict[str, Any], path: str, code: str) -> None:
    assert [(problem.path.replace('["$schema"]', ".$schema").replace('["$ref"]', ".$ref"), problem.code) for problem in schema_problems(schema, "schema")] == [(path, code)]


def test_a_schema_may_refer_to_itself() -> None:
    tree = {"$defs": {"node": {"type": "object", "properties": {"child": {"$ref": "#/$defs/node"}}}}, "$ref": "#/$defs/node"}
    assert schema_problems(tree, "schema") == []
    assert check(ContextSchema(tree), {"child": {"child": 3}})[0].path == "$.child.child"


@pytest.mark.parametrize("schema", [{"default": {"pattern": "(a"}}, {"properties": {"a": {"enum": [{"$ref": "other.json"}], "const": {"pattern": "(a"}}}}])
def test_a_value_is_no_schema(schema: dict[str, Any]) -> None:
    assert schema_problems(schema, "schema") == []


def test_a_property_may_be_called_as_a_keyword_is() -> None:
    named = {"properties": {name: {"type": "string"} for name in ("pattern", "patternProperties", "unevaluatedProperties", "$ref", "default", "const")}}
    assert schema_problems(named, "schema") == []
    assert check(ContextSchema(named), {"const": 5})[0].path == "$.const"


@pytest.mark.parametrize("name", ["default", "const", "enum", "examples"])
def test_a_property_of_any_name_has_its_default(name: str) -> None:
    assert ContextSchema({"properties": {name: {"default": 5}}}).with_defaults({}) == {name: 5}


@pytest.mark.parametrize(
    ("value", "divisor"),
    [(19.99, 0.01), (0.3, 0.1), (1.1, 0.1), (4.35, 0.05), (-19.99, 0.01), (0, 0.01), (7, 7), (7.0, 7), (21, 0.7), (1e308, 0.01), (1e300, 1e-300), (2**62, 2), (5e-324, 5e-324)],
)
def test_a_multiple_is_one_as_the_numbers_are_written(value: float, divisor: float) -> None:
    assert check(ContextSchema({"multipleOf": divisor}), value) == []


@pytest.mark.parametrize(("value", "divisor"), [(19.999, 0.01), (0.35, 0.1), (8, 7), (7.5, 7), (2**62 + 1, 2), (1e-300, 1), (float("inf"), 0.1), (float("nan"), 1)])
def test_what_is_no_multiple_is_refused(value: float, divisor: float) -> None:
    assert [problem.code for problem in check(ContextSchema({"multipleOf": divisor}), value)] == ["multipleOf"]


def test_only_numbers_need_be_multiples() -> None:
    for value in ("19.99", True, None, [0.5]):
        assert check(ContextSchema({"multipleOf": 2}), value) == []


def test_the_dialect_may_be_named() -> None:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "properties": {"a": {"pattern": "(a+)+$"}}}
    assert schema_problems(schema, "schema") == []
    started = time.process_time()
    assert [problem.code for problem in check(ContextSchema(schema), {"a": "a" * 40 + "b"})] == ["pattern"]
    assert time.process_time() - started < 10  # processor seconds: what this forbids takes minutes


def test_nothing_is_ever_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> Any:
        raise AssertionError("a connection was attempted")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert check(ContextSchema({"$ref": "http://127.0.0.1:9/x"}), {})[0].code == "unknown_ref"


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date-time", "2030-01-31T08:00:00Z", "2030-02-31T08:00:00Z"),
        ("date-time", "2030-01-31T08:00:00.123456789+02:00", "tomorrow"),
        ("date-time", "2030-01-31T08:00:00", "20300131"),
        ("date", "2030-01-31", "2030-1-31"),
        ("time", "08:00:00", "25:00:00"),
        ("email", "a@b.c", "a b"),
        ("uri", "https://a/b", "not a uri"),
        ("uuid", "00000000-0000-0000-0000-000000000000", "{00000000-0000-0000-0000-000000000000}"),
        ("ipv4", "127.0.0.1", "127.0.0.256"),
        ("ipv6", "::1", "::g"),
    ],
)
def test_formats_are_checked(name: str, good: str, bad: str) -> None:
    schema = ContextSchema({"format": name})
    assert check(schema, good) == []
    assert [problem.code for problem in check(schema, bad)] == ["format"]
    assert check(schema, 5) == []


def test_unique_items_tell_numbers_from_truth() -> None:
    schema = ContextSchema({"uniqueItems": True})
    assert check(schema, [1, True, 0, False, "1", None, [1], {"a": 1}]) == []
    assert check(schema, [{"a": 1}, {"a": 1.0}])[0].code == "uniqueItems"


def test_a_choice_tells_the_closest_variant() -> None:
    schema = ContextSchema({"oneOf": [{"required": ["card"]}, {"properties": {"iban": {"type": "string"}}, "required": ["iban"]}]})
    (problem,) = check(schema, {"iban": 5})
    assert problem.code == "oneOf"
    assert "closest" in problem.message


# Patterns

_parts = st.sampled_from(["a", "b", "(a|b)", "[ab]", "[^a]", "a*", "(ab)+", "(a|bc)?", "^", "$", ".", "(b*a){1,2}", "(?:c|)*?", "c{2,}", "|"])


@settings(max_examples=500, deadline=None)
@given(st.lists(_parts, max_size=6).map("".join), st.text(alphabet="abc", max_size=8))
def test_a_pattern_matches_what_pythons_own_matcher_does(pattern: str, text: str) -> None:
    try:
        expected = re.search(pattern, text) is not None
    except re.error:
        assert patterns.refusal(pattern) is not None
        return
    assert patterns.search(pattern, text) == expected


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*$", "(a|aa)+$", "a*a*a*a*a*b", "(.*)*x", "(a?){50}a{50}"])
def test_no_pattern_takes_more_than_linear_time(pattern: str) -> None:
    started = time.process_time()
    patterns.search(pattern, "a" * 50_000 + "c")
    assert time.process_time() - started < 10  # processor seconds: what this forbids takes minutes


def test_classes_are_ascii_and_the_end_is_the_end() -> None:
    assert patterns.search(r"^\d+$", "123")
    assert not patterns.search(r"^\d+$", "١٢٣")
    assert not patterns.search(r"^a$", "a\n")
    assert patterns.search(r"^[\w-]+\s\S$", "a-b\u00a0c")
