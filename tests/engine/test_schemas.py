"""What a schema itself may say."""

import re
import socket
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from least import least_seconds

from engine import patterns
from engine.schemas import ContextSchema, check, fill_and_check, schema_problems


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


BY_CARD = {"type": "object", "properties": {"method": {"const": "card"}, "card": {"$ref": "#/$defs/card"}, "save": {"default": False}}, "required": ["method", "card"]}
BY_TRANSFER = {"type": "object", "properties": {"method": {"const": "transfer"}, "iban": {"type": "string"}, "days": {"type": "integer", "default": 14}}, "required": ["method", "iban"]}
CARD = {"type": "object", "properties": {"number": {"type": "string"}, "kind": {"default": "debit"}}, "required": ["number"], "additionalProperties": False}


def paying(keyword: str = "oneOf") -> ContextSchema:
    return ContextSchema({"properties": {"pay": {keyword: [BY_CARD, BY_TRANSFER, {"type": "null"}]}}, "$defs": {"card": CARD}})


@pytest.mark.parametrize("keyword", ["oneOf", "anyOf"])
@pytest.mark.parametrize(
    ("pay", "expected", "closest"),
    [
        ({"method": "card", "card": {"nmber": "1"}}, [("$.pay.card.nmber", "unknown_key"), ("$.pay.card.number", "missing")], 0),
        ({"method": "transfer", "iban": 5}, [("$.pay.iban", "type")], 1),
        ({"method": "transfer"}, [("$.pay.iban", "missing")], 1),
        ({"iban": 5, "days": "x"}, [("$.pay.days", "type"), ("$.pay.iban", "type"), ("$.pay.method", "missing")], 1),
        ({"method": "cash"}, [("$.pay.card", "missing"), ("$.pay.method", "const")], 0),
    ],
)
def test_a_choice_tells_what_is_wrong_in_the_alternative_that_was_likely_meant(keyword: str, pay: Any, expected: list[tuple[str, str]], closest: int) -> None:
    first, *others = check(paying(keyword), {"pay": pay})
    assert (first.path, first.code) == ("$.pay", keyword)
    assert f"the closest is {keyword}[{closest}]" in first.message
    assert [(problem.path, problem.code) for problem in others] == expected


def test_a_value_of_no_alternatives_type_is_told_once() -> None:
    (problem,) = check(ContextSchema({"anyOf": [{"type": "string"}, {"type": "null"}]}), 5)
    assert problem.message == "fits none of the 2 alternatives; the closest is anyOf[0]: 5 is not of type 'string'"


@pytest.mark.parametrize(
    ("schema", "value", "reason"),
    [
        ({"maxLength": 3}, "a" * 500, "is too long"),
        ({"enum": ["b" * 400, "c"]}, "a" * 500, "is not one of ['bbb"),
        ({"pattern": "^b*$"}, "a" * 500, "does not match '^b*$'"),
        ({"type": "integer"}, ["a"] * 500, "is not of type 'integer'"),
        ({"const": "b" * 500}, "a", "was expected"),
        ({"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null"}]}, "a" * 500, "is too long"),
    ],
)
def test_a_long_value_does_not_crowd_out_what_is_wrong_with_it(schema: dict[str, Any], value: Any, reason: str) -> None:
    (problem,) = check(ContextSchema(schema), value)
    assert reason in problem.message
    assert len(problem.message) < 400


@pytest.mark.parametrize("before", [60, 66, 72])
def test_where_a_long_value_is_cut_no_part_of_a_secret_is_shown(before: int) -> None:
    schema = ContextSchema({"properties": {"pin": {"writeOnly": True}}, "maxProperties": 2})
    (problem,) = check(schema, {"a": "a" * before, "pin": "hunter22hunter22", "z": "z" * 500})
    assert problem.message.endswith("has too many properties")
    assert "hunt" not in problem.message


def test_a_schema_with_a_long_bad_value_is_told_what_is_wrong_with_it() -> None:
    assert "is not of type 'object', 'boolean'" in schema_problems({"not": ["a"] * 500}, "schema")[0].message


def test_a_choice_within_a_choice_is_told_to_its_end() -> None:
    schema = ContextSchema({"oneOf": [{"properties": {"a": {"anyOf": [{"properties": {"b": {"type": "integer"}}}, {"type": "null"}]}}, "required": ["a"]}, {"type": "null"}]})
    assert [(problem.path, problem.code) for problem in check(schema, {"a": {"b": "x"}})] == [("$", "oneOf"), ("$.a", "anyOf"), ("$.a.b", "type")]


def test_a_secret_is_not_shown_by_the_alternative_that_it_does_not_fit() -> None:
    schema = ContextSchema({"properties": {"password": {"oneOf": [{"maxLength": 3, "type": "string"}, {"type": "null"}]}, "login": {"anyOf": [{"properties": {"token": {"maxLength": 3}}}]}}})
    told = " ".join(map(str, check(schema, {"password": "hunter22", "login": {"token": "hunter22"}})))
    assert "$.login.token" in told
    assert "hunter22" not in told


@pytest.mark.parametrize(
    ("pay", "stored"),
    [
        ({"method": "card", "card": {"number": "1"}}, {"method": "card", "card": {"number": "1", "kind": "debit"}, "save": False}),
        ({"method": "transfer", "iban": "x"}, {"method": "transfer", "iban": "x", "days": 14}),
        ({"method": "transfer", "iban": "x", "days": 3}, {"method": "transfer", "iban": "x", "days": 3}),
        ({"method": "cash"}, {"method": "cash"}),
        (None, None),
    ],
)
@pytest.mark.parametrize("keyword", ["oneOf", "anyOf"])
def test_the_defaults_of_the_alternative_that_was_chosen_are_stored_and_no_others(keyword: str, pay: Any, stored: Any) -> None:
    assert paying(keyword).with_defaults({"pay": pay}) == {"pay": stored}


def test_a_default_may_choose_the_alternative() -> None:
    by_kind = [{"properties": {"kind": {"const": kind}, "days": {"default": days}}} for kind, days in (("fast", 1), ("slow", 9))]
    schema = ContextSchema({"properties": {"kind": {"default": "slow"}}, "oneOf": by_kind})
    assert schema.with_defaults({}) == {"kind": "slow", "days": 9}
    assert schema.with_defaults({"kind": "fast"}) == {"kind": "fast", "days": 1}


def test_an_alternative_that_needs_its_own_defaults_is_chosen_where_no_other_fits() -> None:
    schema = ContextSchema({"oneOf": [{"required": ["a"], "properties": {"a": {"type": "integer"}}}, {"required": ["b"], "properties": {"b": {"default": 2}}}]})
    assert fill_and_check(schema, {}) == ({"b": 2}, [])
    assert fill_and_check(schema, {"a": 1}) == ({"a": 1}, [])


def test_a_default_that_would_make_two_alternatives_fit_is_left_out() -> None:
    schema = ContextSchema({"oneOf": [{"properties": {"x": {"default": 1}}}, {"required": ["x"]}]})
    assert fill_and_check(schema, {}) == ({}, [])


def test_the_defaults_of_what_a_condition_leads_to_are_stored() -> None:
    schema = ContextSchema({"if": {"required": ["express"]}, "then": {"properties": {"days": {"default": 1}}}, "else": {"allOf": [{"$ref": "#/$defs/slow"}]}, "$defs": {"slow": {"properties": {"days": {"default": 9}}}}})
    assert schema.with_defaults({"express": True}) == {"express": True, "days": 1}
    assert schema.with_defaults({}) == {"days": 9}


def test_alternatives_without_end_are_refused_within_the_time_that_a_check_has() -> None:
    node: dict[str, Any] = {"properties": {"x": {"default": 0}}, "required": ["y"]}
    for _ in range(40):
        node = {"oneOf": [node, {**node, "required": ["z"]}], "properties": {"x": {"default": 0}}}
    started = time.process_time()
    _, found = fill_and_check(ContextSchema(node), {})
    assert [problem.code for problem in found] in (["too_costly"], ["oneOf"])
    assert time.process_time() - started < 5  # what this forbids takes hours


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
    assert least_seconds(lambda: patterns.search(pattern, "a" * 50_000 + "c"), 0.2) <= 0.2


def test_classes_are_ascii_and_the_end_is_the_end() -> None:
    assert patterns.search(r"^\d+$", "123")
    assert not patterns.search(r"^\d+$", "١٢٣")
    assert not patterns.search(r"^a$", "a\n")
    assert patterns.search(r"^[\w-]+\s\S$", "a-b\u00a0c")
