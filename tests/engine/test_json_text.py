"""What may come in as JSON, what may go out as a result."""

import contextlib
import dataclasses
import enum
import json
import math
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import RequestError
from engine.json_text import (
    MAX_BYTES,
    REPLACED_KEY,
    ResultRejected,
    canonical,
    clean_text,
    load,
    read_input,
    write_result,
)

_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def refused(text: str | bytes) -> list[tuple[str, str]]:
    with pytest.raises(RequestError) as raised:
        read_input(text)
    return [(problem.path, problem.code) for problem in raised.value.problems]


def rejected(value: Any) -> tuple[str, str]:
    with pytest.raises(ResultRejected) as raised:
        write_result(value)
    return raised.value.kind, str(raised.value)


# Inputs


@pytest.mark.parametrize(
    ("text", "path", "code"),
    [
        ("", "$", "bad_json"),
        ("{", "$", "bad_json"),
        ("{'a': 1}", "$", "bad_json"),
        ('{"a": 1} x', "$", "bad_json"),
        ('{"a": NaN}', "$", "not_finite"),
        ('{"a": -Infinity}', "$", "not_finite"),
        ('{"a": 1e400}', "$", "not_finite"),
        ('{"a": ' + "9" * 5000 + "}", "$", "number_too_large"),
        ('{"a": 9223372036854775808}', "$", "number_too_large"),
        ('{"a": 1, "a": 2}', "$", "duplicate_key"),
        ('{"a": "\\u0000"}', "$.a", "nul_character"),
        ('{"a": ["\\ud800"]}', "$.a[0]", "lone_surrogate"),
        ('{"\\u0000": 1}', "$", "nul_character"),
        (b'{"a": "\xff"}', "$", "bad_encoding"),
        ("[" * 5000 + "]" * 5000, "$", "too_deep"),
        ("[" * 65 + "]" * 65, "$", "too_deep"),
        ("[" * 100_000, "$", "too_deep"),
        (" " * (MAX_BYTES + 1), "$", "too_large"),
    ],
)
def test_what_cannot_be_kept_is_refused(text: str | bytes, path: str, code: str) -> None:
    assert refused(text) == [(path, code)]


def test_what_lies_just_within_the_limits_is_read() -> None:
    assert read_input('{"a": 9223372036854775807}') == {"a": 2**63 - 1}
    assert read_input("[" * 64 + "]" * 64)
    assert read_input('"' + "[" * 500 + '\\""') == "[" * 500 + '"'
    assert read_input('{"a": "\\ud83d\\ude00"}') == {"a": "😀"}


@pytest.mark.parametrize("text", ['"' + '\\"' * 500_000, '"' + '\\"' * 500_000 + "\\", "{" * 1_000_000, '["' * 300_000, '"' * 1_000_000, "{" + ",".join(f'"{no}":0' for no in [*range(90_000), 89_999]) + "}"])
def test_no_text_takes_long_to_refuse(text: str) -> None:
    started = time.process_time()
    assert refused(text)
    assert time.process_time() - started < 10  # processor seconds: what this forbids takes minutes


@given(_values)
def test_what_was_accepted_is_read_back_the_same(value: Any) -> None:
    text = json.dumps(value)
    if "\\u0000" in text or "\\ud" in text:
        return
    assert canonical(read_input(text)) == canonical(value)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    with contextlib.suppress(RequestError):
        read_input(raw)


# Results


@dataclasses.dataclass
class Point:
    x: int


class Colour(enum.Enum):
    RED = 1


def _generator() -> Any:
    yield 1


def _circular() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "kind", "told"),
    [
        ({"a": [1, 2, 3, datetime(2030, 1, 1, tzinfo=UTC)]}, "result_not_json", "$.a[3]: datetime.datetime is not JSON"),
        (Decimal(1), "result_not_json", "$: decimal.Decimal"),
        ([uuid.UUID(int=0)], "result_not_json", "$[0]: uuid.UUID"),
        (b"raw", "result_not_json", "$: bytes"),
        ({"a": {1, 2}}, "result_not_json", "$.a: set"),
        (Point(1), "result_not_json", "Point"),
        (Colour.RED, "result_not_json", "Colour"),
        (_generator(), "result_not_json", "$: generator"),
        ({"a": {1: 2}}, "result_not_json", "$.a: the key 1 is int, not a string"),
        ({None: 1}, "result_not_json", "$: the key None"),
        ({"a": {(1, 2): 3}}, "result_not_json", "$.a: the key (1, 2) is tuple"),
        ([math.nan], "result_not_json", "$[0]: nan"),
        ([[math.inf]], "result_not_json", "$[0][0]: inf"),
        pytest.param(10**5000, "result_not_json", "too large", id="an integer that cannot be printed"),
        (_circular(), "result_too_deep", "64 levels"),
        ("x" * (MAX_BYTES + 1), "result_too_large", "1,048,579 bytes; the limit is 1,048,576; it begins \"xxx"),
        (["x" * 1_000_000] * 100, "result_too_large", "more than"),
    ],
)
def test_what_is_no_json_fails_with_its_path_and_type(value: Any, kind: str, told: str) -> None:
    found, message = rejected(value)
    assert (found, told in message) == (kind, True), message


def test_shared_references_are_no_bomb() -> None:
    value: list[Any] = []
    for _ in range(60):
        value = [value, value]
    started = time.process_time()
    assert rejected(value)[0] == "result_too_large"
    assert time.process_time() - started < 10  # processor seconds: what this forbids takes minutes


def test_depth_is_limited_to_64() -> None:
    value: Any = 1
    for _ in range(64):
        value = [value]
    assert load(write_result(value)) == value
    assert rejected([value])[0] == "result_too_deep"


@pytest.mark.parametrize("value", [None, True, 1, -1.5, "a", "ä😀", [], {}, (1, 2), {"a": [{"b": None}]}, "\\u0000", '"\\', 2**80])
def test_json_values_are_written_as_they_are(value: Any) -> None:
    assert load(write_result(value)) == (list(value) if isinstance(value, tuple) else value)


def test_nul_and_lone_surrogates_are_replaced_and_marked() -> None:
    assert load(write_result({"a": "x\0y", "b": ["\ud800"], "c": "fine"})) == {
        "a": "x\ufffdy",
        "b": ["\ufffd"],
        "c": "fine",
        REPLACED_KEY: ["$.a", "$.b[0]"],
    }
    assert load(write_result(["\0"])) == ["\ufffd"]
    assert load(write_result({"\0": 1})) == {"\ufffd": 1, REPLACED_KEY: ["$"]}


@given(_values)
def test_every_result_that_is_written_can_be_stored(value: Any) -> None:
    text = write_result(value)
    assert text.encode()
    assert clean_text(json.dumps(load(text), ensure_ascii=False)) == json.dumps(load(text), ensure_ascii=False)
    assert "\0" not in str(load(text))


@pytest.mark.parametrize("make", [lambda: {"a": 1, "b": 2}, lambda: {"b": 2, "a": 1}])
def test_canonical_text_does_not_depend_on_order(make: Callable[[], Any]) -> None:
    assert canonical(make()) == '{"a":1,"b":2}'
