"""The input schema of a workflow as a table that people can read. The page of a version shows it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SchemaField:
    """One line of a schema as a table; `depth` is how far it is nested."""

    name: str
    depth: int
    type: str
    required: bool
    rules: tuple[str, ...]
    description: str


MAX_SCHEMA_DEPTH = 8
RULES = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "{} or more characters",
    "maxLength": "{} or fewer characters",
    "minItems": "{} or more entries",
    "maxItems": "{} or fewer entries",
    "pattern": "matches {}",
    "const": "always {}",
    "default": "{} if left out",
}


def schema_fields(schema: dict[str, Any] | None) -> tuple[SchemaField, ...]:
    """The properties of an input schema, nested ones after the one they belong to."""
    return tuple(_fields(schema or {}, 0)) if isinstance(schema, dict) or schema is None else ()


def _fields(schema: dict[str, Any], depth: int) -> Iterable[SchemaField]:
    required = schema.get("required") or ()
    for name, rules in (schema.get("properties") or {}).items():
        known = rules if isinstance(rules, dict) else {}
        yield _field(name, known, depth, name in required)
        if depth < MAX_SCHEMA_DEPTH:
            yield from _fields(_inner(known), depth + 1)


def _inner(schema: dict[str, Any]) -> dict[str, Any]:
    items = schema.get("items")
    return items if isinstance(items, dict) else schema


def _field(name: str, schema: dict[str, Any], depth: int, required: bool) -> SchemaField:
    rules = [text.format(_shown(schema[key])) for key, text in RULES.items() if key in schema]
    if "enum" in schema:
        rules.insert(0, "one of " + ", ".join(map(_shown, schema["enum"])))
    return SchemaField(name, depth, _type(schema), required, tuple(rules), str(schema.get("description", "")))


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _type(schema: dict[str, Any]) -> str:
    kind = schema.get("type", "any of several" if {"oneOf", "anyOf"} & schema.keys() else "any")
    words = " or ".join(map(str, kind)) if isinstance(kind, list) else str(kind)
    items = schema.get("items")
    if words == "array" and isinstance(items, dict):
        return f"list of {_type(items)}"
    return f"{words} ({schema['format']})" if "format" in schema else words
