"""Everything that reads text or values from outside is fed with what it was not made for: each input is taken or refused, and nothing else happens.

Inputs are made by damaging good ones, from a seed that is told. `FUZZ_INPUTS` says how many each nightly run makes, `FUZZ_SEED` repeats one.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from engine import json_text, schemas, timing
from engine.errors import DefinitionError, RequestError
from engine.requests import TaskRequest, context_schema
from engine.yaml_config import load_text

EACH_TIME = 10_000
NIGHTLY = int(os.environ.get("FUZZ_INPUTS", "1000000"))
SEED = int(os.environ.get("FUZZ_SEED", "20241"))
LONGEST_SECONDS = 3.0
"""For one input, on a machine that others use as well."""

WORKFLOW = (Path(__file__).resolve().parents[2] / "engine" / "examples" / "ecommerce" / "process_order_2.yaml").read_text()
CONTEXT = '{"order": 7, "lines": [{"sku": "a-1", "count": 2, "price": 9.95}], "note": "für \\u00e4lle", "paid": true, "code": null}'
SCHEMA = {
    "type": "object",
    "required": ["order"],
    "properties": {
        "order": {"type": "integer", "minimum": 1, "default": 3},
        "note": {"type": "string", "pattern": "^[a-z]+( [a-z]+)*$", "maxLength": 40},
        "lines": {"type": "array", "uniqueItems": True, "items": {"$ref": "#/$defs/line"}},
        "when": {"type": "string", "format": "date-time"},
    },
    "$defs": {"line": {"type": "object", "properties": {"count": {"multipleOf": 0.5}}, "additionalProperties": False}},
}
FRAGMENTS = [
    "\0", "\\u0000", "\ud800", "\\ud800", "NaN", "-Infinity", "1e400", "9" * 5_000, "[" * 3_000, "{" * 70, '"', "\\", "'", "\u202e", "\ufeff", "\r", "\t", "\x85", "\u2028",
    "&a [*a]", "*a", "&a", "<<: *a", "!!python/object/apply:os.system ['true']", "!x", "---", "...", "? ", ": ", "- ", "#", "|", ">", "%YAML 1.2", "no", "012", "12:30:00", "2024-01-01", "1.10",
    "null", "~", "true", "-1", "1.0", "0x10", "[]", "{}", '{"a":1,"a":2}', "depends_on_step: x", "name: name", "(a+)+$", "$ref", "http://127.0.0.1/x", "#", "..", "*/0", "0 0 31 2 *", "L", "@", "9" * 20,
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, 0, -1, 2**63, -(2**80), 1.0, float("nan"), float("-inf"), 1e308, "", "x" * 2_000, "\0", "\ud800", "\u202e", b"bytes", [], {}, [[]], {"a": {}}, {1: 2}, {None: 1}, set(), object(),
    10**400, "http://127.0.0.1/", "#", "#/$defs/line", "(a+)+$", "(", "date-time", datetime.max,  # noqa: DTZ901
    datetime(1, 1, 1, tzinfo=UTC), timedelta(days=9), Path("/"), "integer", ["integer", "null"], lambda: 1,
]  # fmt: skip

Feed = Callable[[random.Random], object]


def damaged(text: str, chance: random.Random) -> str:
    """The text after a few cuts, repetitions, swaps and insertions."""
    for _ in range(chance.randint(1, 4)):
        at, end = sorted((chance.randint(0, len(text)), chance.randint(0, len(text))))
        piece = text[at : min(end, at + 40)]
        kind = chance.randrange(4)
        if kind == 0:
            text = text[:at] + chance.choice(FRAGMENTS) + text[at:]
        elif kind == 1:
            text = text[:at] + text[at + len(piece) :]
        elif kind == 2:
            text = text[:at] + piece * chance.randint(2, 30) + text[at:]
        else:
            text = text[:at] + chance.choice(FRAGMENTS) + text[at + len(piece) :]
    return text


def altered(value: Any, chance: random.Random) -> Any:
    """The value with one or two places, at any depth, replaced, doubled or gone."""
    for _ in range(chance.randint(1, 2)):
        value = _altered(value, chance)
    return value


def _altered(value: Any, chance: random.Random) -> Any:
    if not isinstance(value, (dict, list)) or not value or chance.random() < 0.15:
        return chance.choice(VALUES)
    if isinstance(value, list):
        at = chance.randrange(len(value))
        return [*value[:at], _altered(value[at], chance), *value[at + chance.randint(0, 1) :]]
    name = chance.choice(list(value))
    other = chance.choice([name, name, name, chance.choice(FRAGMENTS)])
    return {**{key: kept for key, kept in value.items() if key != name}, other: _altered(value[name], chance)}


def is_storable(text: str) -> bool:
    """Whether PostgreSQL takes it as jsonb: JSON in UTF-8, without NUL and half surrogates, also where they were escaped."""
    plain = json.dumps(json.loads(text), ensure_ascii=False)
    return "\\u0000" not in plain.replace("\\\\", "") and bool(plain.encode())


def refused_with_reasons(error: DefinitionError | RequestError) -> None:
    assert error.problems
    assert all(problem.code and problem.message for problem in error.problems)


# ---- one door each


def read_json(chance: random.Random) -> None:
    """What is taken can be stored and read again as the same."""
    text: str | bytes = damaged(CONTEXT, chance)
    if chance.random() < 0.2:
        text = text.encode("utf-8", "surrogatepass") if chance.random() < 0.5 else text.encode("utf-16", "surrogatepass")
    try:
        value = json_text.read_input(text)
    except RequestError:
        return
    stored = json_text.dump(value)
    assert is_storable(stored)
    assert json_text.load(stored) == value


def write_result(chance: random.Random) -> None:
    """What a handler returns becomes text that PostgreSQL takes, or the step's own failure."""
    try:
        text = json_text.write_result(altered(json.loads(CONTEXT), chance))
    except json_text.ResultRejected:
        return
    assert is_storable(text)


def read_workflow(chance: random.Random) -> None:
    try:
        load_text(damaged(WORKFLOW, chance)).definition.to_json()
    except DefinitionError as error:
        refused_with_reasons(error)


def read_schema_and_request(chance: random.Random) -> None:
    """A schema is refused when it is made, or every context can be judged by it."""
    schema = altered(SCHEMA, chance) if chance.random() < 0.5 else SCHEMA
    if not isinstance(schema, dict) or json_text.input_problems(schema) or schemas.schema_problems(schema, "schema"):
        schema = SCHEMA
    value = altered({"order": 1, "note": "a", "lines": [{"count": 2}, {"count": 1}], "when": "2026-01-01T00:00:00Z"}, chance)
    if not json_text.input_problems(value):
        schemas.fill_and_check(context_schema(schema), value)


def read_request(chance: random.Random) -> None:
    given = {"name": "order", "namespace": "shop", "version": "1.2.0", "context": {"a": [1]}, "tags": ("a", "b"), "priority": 3, "initiator": "ann",
             "idempotency_key": "k", "run_at": datetime(2026, 1, 1, tzinfo=UTC), "bypass_steps": ("x",), "correlation_id": "c", "reason": "r"}  # fmt: skip
    changed = altered(given, chance)
    if isinstance(changed, dict):
        try:
            TaskRequest.of(changed)
        except RequestError as error:
            refused_with_reasons(error)


def read_timing(chance: random.Random) -> None:
    """A schedule is refused when it is made, or it has its runs."""
    text = damaged(chance.choice(["*/5 2-4 * * 1-5", "0 0 29 2 *", "@daily", "1h30m", "90s"]), chance)
    zone = chance.choice(["UTC", "Europe/Berlin", damaged("Europe/Berlin", chance)])
    anchor = datetime(2026, 3, 28, 12, tzinfo=UTC)
    try:
        made = timing.every(text) if chance.random() < 0.5 else timing.cron(text, zone)
    except RequestError:
        return
    made.words()
    first = next(made.runs(anchor, anchor), None)
    assert first is None or first > anchor


DOORS: dict[Feed, float] = {read_json: 0.45, write_result: 0.25, read_request: 0.23, read_workflow: 0.03, read_schema_and_request: 0.03, read_timing: 0.01}
"""Each with its share of the inputs: those that take longer get fewer."""


def feed(door: Feed, count: int) -> None:
    """So many inputs; whatever one of them raises that is no refusal fails, and says by which seed."""
    for seed in range(SEED, SEED + count):
        chance = random.Random(seed)
        began = time.process_time()
        try:
            door(chance)
        except Exception as error:
            raise AssertionError(f"FUZZ_SEED={seed}: {type(error).__name__}: {error}") from error
        assert time.process_time() - began < LONGEST_SECONDS, f"FUZZ_SEED={seed} took {time.process_time() - began:.1f} s"


@pytest.mark.parametrize("door", DOORS)
def test_whatever_comes_is_taken_or_refused(door: Feed) -> None:
    feed(door, int(EACH_TIME * DOORS[door]))


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("door", DOORS)
def test_whatever_comes_all_night_is_taken_or_refused(door: Feed) -> None:
    feed(door, int(NIGHTLY * DOORS[door]))
