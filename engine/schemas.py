"""JSON Schema 2020-12 for contexts and results: schemas checked once, values checked within a time budget.

Nothing is ever fetched: a schema may refer only to itself. definition, requests and binding call this.
`1.0` counts as an integer, as JSON Schema has it; `true` does not. Formats of the list below are checked.
"""

from __future__ import annotations

import copy
import ipaddress
import json
import math
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from datetime import time as clock_time
from fractions import Fraction
from functools import cache, lru_cache
from itertools import chain, islice
from typing import Any

import jsonschema
import referencing
import referencing.exceptions
import referencing.jsonschema

from engine import json_text, patterns
from engine.errors import Problem
from engine.hiding import redaction
from engine.hiding.masking import is_secret_name
from engine.patterns import TooCostly

DIALECT = "https://json-schema.org/draft/2020-12/schema"
BUDGET_SECONDS = 0.2
MAX_SHOWN = 50
MAX_MESSAGE = 300
MAX_QUOTED = 100
KNOWN_SCHEMAS = 128

_EMPTY: referencing.jsonschema.SchemaRegistry = referencing.Registry()
_REFERENCES = ("$ref", "$dynamicRef")
_VALUES = ("const", "enum", "default", "examples")
_ALTERNATIVES = ("oneOf", "anyOf")
_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")


def schema_problems(schema: dict[str, Any], path: str) -> list[Problem]:
    """What makes the schema unfit: its dialect, its form, references outside itself or in a loop, costly patterns."""
    try:
        _refuse_unfit(json.dumps(schema), path)
    except _Unfit as unfit:
        return unfit.problems
    return []


class _Unfit(Exception):
    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems


@lru_cache(maxsize=KNOWN_SCHEMAS)  # a definition is looked at when it is built, registered and loaded: the same text each time
def _refuse_unfit(text: str, path: str) -> None:
    schema = json.loads(text)
    found = [*_reference_problems(schema, path), *_pattern_problems(schema, path), *_form_problems(schema, path)]
    found = found or _mixture_problems(schema, path) or _loop_problem(schema, path)
    if found:
        raise _Unfit(found)


def _mixture_problems(schema: dict[str, Any], path: str) -> list[Problem]:
    # The library tests these names with Python's own matcher, which can take for ever.
    keywords = {keyword for _, node in _subschemas(schema, path) for keyword in ("unevaluatedProperties", "patternProperties") if keyword in node}
    message = "unevaluatedProperties and patternProperties cannot be combined; use additionalProperties"
    return [Problem(path, "schema_too_costly", message)] if len(keywords) == 2 else []


def _form_problems(schema: dict[str, Any], path: str) -> list[Problem]:
    for place, node in _subschemas(schema, path):
        dialect = node.get("$schema", DIALECT if node is schema else None)
        if node is schema and (not isinstance(dialect, str) or dialect.rstrip("#") != DIALECT):
            return [Problem(f"{path}.$schema", "bad_schema_dialect", f"must be {DIALECT!r} or left out")]
        if node is not schema and isinstance(dialect, str):
            return [Problem(f"{place}.$schema", "bad_schema_dialect", "may stand at the top of the schema only")]
    errors = jsonschema.Draft202012Validator(jsonschema.Draft202012Validator.META_SCHEMA).iter_errors(schema)
    return [Problem(_place(path, error.absolute_path), "bad_schema", _reason(error)) for error in islice(errors, MAX_SHOWN)]


def _subschemas(schema: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    # What stands under _BY_NAME is no schema but holds schemas, by names that may be those of keywords.
    stack = [(path, schema, True)]
    while stack:
        place, node, is_schema = stack.pop()
        if isinstance(node, dict):
            if is_schema:
                yield place, node
            parts = ((key, child) for key, child in node.items() if not (is_schema and key in _VALUES))
            stack.extend((json_text.child_path(place, key), child, not (is_schema and key in _BY_NAME)) for key, child in parts)
        elif isinstance(node, list):
            stack.extend((f"{place}[{no}]", child, True) for no, child in enumerate(node))


def _reference_problems(schema: dict[str, Any], path: str) -> Iterator[Problem]:
    for place, node in _subschemas(schema, path):
        for keyword in _REFERENCES:
            target = node.get(keyword)
            if isinstance(target, str) and not target.startswith("#"):
                yield Problem(f"{place}.{keyword}", "remote_ref", "may refer only to this schema itself, such as '#/$defs/address'")
            elif isinstance(target, str) and target.startswith("#/") and _at(schema, target) is None:
                yield Problem(f"{place}.{keyword}", "unknown_ref", f"{_cut(target)} does not exist in this schema")


def _pattern_problems(schema: dict[str, Any], path: str) -> Iterator[Problem]:
    for place, node in _subschemas(schema, path):
        given = [("pattern", node["pattern"])] if isinstance(node.get("pattern"), str) else []
        by_pattern = node.get("patternProperties")
        given += [("patternProperties", text) for text in by_pattern] if isinstance(by_pattern, dict) else []
        for keyword, text in given:
            refused = patterns.refusal(text)
            if refused:
                yield Problem(f"{place}.{keyword}", *refused)


def _loop_problem(schema: dict[str, Any], path: str) -> list[Problem]:
    try:
        samples: tuple[Any, ...] = ({}, [], "")
        ready = ContextSchema(schema)
        for sample in samples:
            ready.problems(sample)
        if json_text.input_problems(ready.with_defaults({})):
            return [Problem(path, "schema_loop", "has defaults that never end")]
    except RecursionError:
        return [Problem(path, "schema_loop", "refers to itself without end")]
    except referencing.exceptions.Unresolvable as error:
        return [Problem(path, "unknown_ref", _cut(f"a reference cannot be resolved: {error}"))]
    except TooCostly:
        return [Problem(path, "schema_too_costly", "takes too long to apply")]
    return []


class ContextSchema:
    """A schema made ready: fill in defaults, list what is wrong with a value. Safe to share between threads."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema
        self._root = _Validator({key: part for key, part in schema.items() if key != "$schema"}, registry=_EMPTY, format_checker=_FORMATS)
        self._has_defaults = any("default" in node for _, node in _subschemas(schema, "$"))

    def with_defaults(self, value: Any) -> Any:
        """A copy of the value in which every absent property has the schema's default, those of the alternatives that apply to it among them.

        Raises TooCostly beyond the budget.
        """
        if not self._has_defaults:
            return value
        filled = copy.deepcopy(value)
        with _limited(BUDGET_SECONDS):
            _Filling(self.schema, self._fits).fill(self.schema, filled, 4 * json_text.MAX_DEPTH)
        return filled

    def _fits(self, part: Any, value: Any) -> bool:
        return bool(self._root.evolve(schema=part).is_valid(value))

    def problems(self, value: Any, path: str = "$", budget: float = BUDGET_SECONDS) -> list[Problem]:
        """Everything wrong with the value, each with its path, at most MAX_SHOWN; raises TooCostly beyond the budget (seconds)."""
        found: list[Problem] = []
        secrets = cache(lambda: redaction.secret_texts(value, self.schema))

        def hide(text: str) -> str:
            return redaction.scrubbed(text, secrets())

        with _limited(budget):
            for error in self._root.iter_errors(value):
                found.extend(_problem(error, path, hide))
                if len(found) >= MAX_SHOWN:
                    break
        return sorted((Problem(each.path, each.code, hide(each.message)) for each in found[:MAX_SHOWN]), key=lambda problem: problem.path)


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    patterns.budget.until = time.perf_counter() + seconds
    try:
        yield
    finally:
        patterns.budget.until = float("inf")


def check(schema: ContextSchema, value: Any, path: str = "$") -> list[Problem]:
    """Like `problems`, with the schema's own failures told as a problem."""
    return _told(lambda: schema.problems(value, path), path)


def fill_and_check(schema: ContextSchema, value: Any, path: str = "$") -> tuple[Any, list[Problem]]:
    """A copy of the value with the schema's defaults, and everything wrong with that."""
    filled = [value]

    def find() -> list[Problem]:
        filled[0] = schema.with_defaults(value)
        return json_text.input_problems(filled[0], path) or schema.problems(filled[0], path)

    problems = _told(find, path)
    return filled[0], problems


def _told(find: Callable[[], list[Problem]], path: str) -> list[Problem]:
    try:
        return find()
    except TooCostly:
        return [Problem(path, "too_costly", f"takes longer than {BUDGET_SECONDS * 1000:.0f} ms to check against the schema")]
    except RecursionError:
        return [Problem(path, "schema_loop", "the schema refers to itself without end")]
    except referencing.exceptions.Unresolvable as error:
        return [Problem(path, "unknown_ref", _cut(f"a reference in the schema cannot be resolved: {error}"))]


def _problem(error: Any, path: str, hide: Callable[[str], str]) -> Iterator[Problem]:
    """What the error says. `hide` leaves out the secrets of the value, which the library's messages quote: before a text is cut, as half of one would not be found."""
    place = _place(path, error.absolute_path)
    if error.validator == "required":
        for name in error.validator_value:
            if name not in error.instance and error.message.startswith(repr(name)):
                yield Problem(json_text.child_path(place, name), "missing", "is required")
    elif error.validator == "additionalProperties" and isinstance(error.instance, dict) and error.validator_value is False:
        known = error.schema.get("properties", {})
        for name in islice(_extras(error.instance, error.schema), MAX_SHOWN):
            yield Problem(json_text.child_path(place, name), "unknown_key", f"is not allowed here{_nearest(name, known)}")
    elif error.validator in _ALTERNATIVES and error.context:
        yield from _of_the_nearest(error, path, hide)
    else:
        yield Problem(place, str(error.validator), _message(error, hide))


def _of_the_nearest(error: Any, path: str, hide: Callable[[str], str]) -> Iterator[Problem]:
    """That none of the alternatives fits, and what is wrong with the value in the one it was likely meant for, each where it is."""
    branches: dict[int, list[Any]] = {}
    for each in error.context:
        branches.setdefault(each.relative_schema_path[0], []).append(each)
    no = min(branches, key=lambda number: (_distance(branches[number]), number))
    place = _place(path, error.absolute_path)
    found = list(islice(chain.from_iterable(_problem(each, path, hide) for each in branches[no]), MAX_SHOWN))
    here = "; ".join(problem.message for problem in found if problem.path == place)
    if _is_secret(error):
        yield Problem(place, error.validator, _message(error, hide))
    else:
        yield Problem(place, error.validator, f"fits none of the {len(branches)} alternatives; the closest is {error.validator}[{no}]{_cut(hide(f': {here}')) if here else ''}")
    yield from (problem for problem in found if problem.path != place)


def _distance(errors: list[Any]) -> tuple[int, int, int, int]:
    """Another kind of value is farthest from what was meant, then one that says itself to be another, then one that lacks something."""
    kinds = [error.validator for error in errors]
    return sum(error.validator == "type" and not error.relative_path for error in errors), kinds.count("const") + kinds.count("enum"), kinds.count("required"), len(errors)


def _extras(instance: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    known, by_pattern = schema.get("properties", {}), schema.get("patternProperties", {})
    return (name for name in instance if name not in known and not any(patterns.search(text, name) for text in by_pattern))


def _message(error: Any, hide: Callable[[str], str]) -> str:
    return f"does not fit the schema's {error.validator}; its value is secret and not shown" if _is_secret(error) else _reason(error, hide)


def _reason(error: Any, hide: Callable[[str], str] = str) -> str:
    """The library's message; of a long value that it begins with only the beginning, so that what is wrong with it is told."""
    text = error.message
    if len(text) <= MAX_MESSAGE:
        return _cut(text)
    value = next(filter(text.startswith, map(repr, (error.instance, error.validator_value))), "")
    return _cut(f"{_cut(hide(value), MAX_QUOTED)}{hide(text[len(value) :])}")


def _is_secret(error: Any) -> bool:
    return redaction.is_marked(error.schema) or any(isinstance(part, str) and is_secret_name(part) for part in error.absolute_path)


def _nearest(name: str, known: Any) -> str:
    from engine.definition import nearest

    return nearest(name, known)


def _cut(text: str, most: int = MAX_MESSAGE) -> str:
    text = json_text.clean_text(text)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _place(path: str, steps: Any) -> str:
    for step in steps:
        path = json_text.child_path(path, step)
    return path


def _at(schema: Any, reference: str) -> Any:
    node = schema
    for part in reference[2:].split("/"):
        part = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict):
            node = node.get(part)
        elif isinstance(node, list) and part.isdecimal() and int(part) < len(node):
            node = node[int(part)]
        else:
            return None
    return node


class _Filling:
    """Puts defaults where they are absent; `fits` says whether a value is valid by a part of the schema."""

    def __init__(self, root: dict[str, Any], fits: Callable[[Any, Any], bool]) -> None:
        self._root, self._fits = root, fits

    def fill(self, schema: Any, value: Any, depth: int) -> None:
        patterns.budget.check()
        if not isinstance(schema, dict) or depth <= 0:
            return
        for part in _alongside(self._root, schema):
            self.fill(part, value, depth - 1)
        if isinstance(value, dict) and isinstance(schema.get("properties"), dict):
            self._properties(schema["properties"], value, depth)
        if isinstance(value, list) and isinstance(schema.get("items"), dict):
            for item in value[len(schema.get("prefixItems", ())) :]:
                self.fill(schema["items"], item, depth - 1)
        if isinstance(value, (dict, list)):
            for part in self._applying(schema, value, depth):
                self.fill(part, value, depth - 1)

    def _properties(self, properties: dict[str, Any], value: dict[str, Any], depth: int) -> None:
        for name, child in properties.items():
            if isinstance(child, dict) and "default" in child and name not in value:
                value[name] = copy.deepcopy(child["default"])
            if name in value:
                self.fill(child, value[name], depth - 1)

    def _applying(self, schema: dict[str, Any], value: Any, depth: int) -> Iterator[Any]:
        """Those of the alternatives that the value chooses, as it stands when its own properties have their defaults."""
        if "if" in schema:
            yield schema.get("then" if self._fits(schema["if"], value) else "else")
        yield from self._chosen(schema.get("anyOf", ()), value, depth)
        for part in self._chosen(schema.get("oneOf", ()), value, depth):
            if self._is_still_one(schema["oneOf"], part, value, depth):
                yield part

    def _chosen(self, branches: Any, value: Any, depth: int) -> list[Any]:
        """Those that it fits; where there is none, those that it fits with their defaults."""
        return [part for part in branches if self._fits(part, value)] or [part for part in branches if self._fits(part, self._filled(part, value, depth))]

    def _is_still_one(self, branches: Any, part: Any, value: Any, depth: int) -> bool:
        """Whether the defaults of that branch make the value fit no other."""
        filled = self._filled(part, value, depth)
        return sum(self._fits(branch, filled) for branch in branches) == 1

    def _filled(self, part: Any, value: Any, depth: int) -> Any:
        filled = copy.deepcopy(value)
        self.fill(part, filled, depth - 1)
        return filled


def _alongside(root: dict[str, Any], schema: dict[str, Any]) -> Iterator[Any]:
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        yield root if reference == "#" else _at(root, reference) if reference.startswith("#/") else None
    yield from schema.get("allOf", ())


# The validator: the library's, with a deadline before every keyword and linear-time patterns and uniqueness.

Keyword = Callable[[Any, Any, Any, Any], Any]


def _in_time(keyword: Keyword) -> Keyword:
    def checked(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        patterns.budget.check()
        return keyword(validator, value, instance, schema) or ()

    return checked


def _pattern(validator: Any, text: str, instance: Any, schema: Any) -> Iterator[Any]:
    if isinstance(instance, str) and not patterns.search(text, instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {text!r}")


def _pattern_properties(validator: Any, by_pattern: dict[str, Any], instance: Any, schema: Any) -> Iterator[Any]:
    if isinstance(instance, dict):
        for text, subschema in by_pattern.items():
            for name, value in instance.items():
                if patterns.search(text, name):
                    yield from validator.descend(value, subschema, path=name, schema_path=text)


def _additional_properties(validator: Any, extra: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    names = list(_extras(instance, schema))
    if isinstance(extra, dict):
        for name in names:
            yield from validator.descend(instance[name], extra, path=name)
    elif not extra and names:
        yield jsonschema.ValidationError("has properties that are not allowed")


def _multiple_of(validator: Any, divisor: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(instance, "number") and not _is_multiple(instance, divisor):
        yield jsonschema.ValidationError(f"{instance!r} is not a multiple of {divisor!r}")


def _is_multiple(value: Any, divisor: Any) -> bool:
    # As the numbers are written: in binary no price is a multiple of 0.01.
    exact = [_as_written(number) for number in (value, divisor)]
    return exact[0] is not None and exact[1] is not None and exact[0] % exact[1] == 0


def _as_written(number: Any) -> Fraction | None:
    if isinstance(number, float):
        return Fraction(repr(number)) if math.isfinite(number) else None
    return Fraction(number)


def _unique_items(validator: Any, wanted: bool, instance: Any, schema: Any) -> Iterator[Any]:
    if wanted and isinstance(instance, list):
        seen = {json_text.canonical(_alike(item)) for item in instance}
        if len(seen) < len(instance):
            yield jsonschema.ValidationError("has items that are not unique")


def _alike(value: Any) -> Any:
    # 1 and 1.0 are one number in JSON Schema, true and 1 are not.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _alike(child) for key, child in value.items()}
    return [_alike(child) for child in value] if isinstance(value, list) else value


def _validator_class() -> Any:
    base = jsonschema.Draft202012Validator
    own: dict[str, Keyword] = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "multipleOf": _multiple_of,
        "uniqueItems": _unique_items,
    }
    keywords = {name: _in_time(own.get(name, keyword)) for name, keyword in base.VALIDATORS.items()}
    return jsonschema.validators.extend(base, keywords)


_FORMATS = jsonschema.FormatChecker(formats=())


def _format(name: str) -> Callable[[Callable[[str], object]], Callable[[str], object]]:
    def register(parse: Callable[[str], object]) -> Callable[[str], object]:
        _FORMATS.checks(name, raises=ValueError)(lambda value: not isinstance(value, str) or parse(value) is not False)
        return parse

    return register


_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:\d\d)?\Z", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d\Z", re.ASCII)
_TIME = re.compile(r"\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:\d\d)?\Z", re.ASCII)
_EMAIL = re.compile(r"[^\s@]{1,64}@[^\s@]{1,255}\Z")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+\Z", re.ASCII)


@_format("date-time")
def _date_time(text: str) -> bool:
    if not _DATE_TIME.match(text):
        return False
    datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text).upper().replace(" ", "T"))
    return True


@_format("date")
def _date(text: str) -> bool:
    return bool(_DATE.match(text) and date.fromisoformat(text))


@_format("time")
def _time(text: str) -> bool:
    if not _TIME.match(text):
        return False
    clock_time.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text).upper())
    return True


@_format("email")
def _email(text: str) -> bool:
    return bool(_EMAIL.match(text))


@_format("uri")
def _uri(text: str) -> bool:
    return bool(_URI.match(text))


@_format("uuid")
def _uuid(text: str) -> bool:
    return str(uuid.UUID(text)) == text.lower()


@_format("ipv4")
def _ipv4(text: str) -> bool:
    return bool(ipaddress.IPv4Address(text))


@_format("ipv6")
def _ipv6(text: str) -> bool:
    return bool(ipaddress.IPv6Address(text))


_Validator = _validator_class()
