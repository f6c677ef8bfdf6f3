"""From a JSON Schema to the parts of a launch form: what to ask for at each place. webapp.forms calls it once per form.

References are followed inside the one schema; what has no inputs of its own, or would be too deep, is asked for as JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from webapp.form_parts import (
    FREE,
    MAX_FIELDS,
    Fixed,
    Flag,
    Free,
    Group,
    Moment,
    Number,
    Options,
    Part,
    Rows,
    Schema,
    Text,
    Variants,
    text_or_empty,
)

MAX_DEPTH = 8


class _Inexpressible(Exception):
    """This part of the schema has no inputs of its own."""


class _TooMany(Exception):
    """The form would be too large to be of use."""


def part_of(schema: Schema | None) -> Part:
    """The part for a whole context. A schema without properties, or with too many, is asked for as JSON text."""
    if not isinstance(schema, dict):
        return FREE
    try:
        part = _Compiler(schema).part(schema, (), 0)
    except _TooMany:
        return Free(schema=schema)
    return part if isinstance(part, Group | Variants) else Free(schema=schema)


_OTHERS = ("patternProperties", "if", "then", "else", "dependentSchemas")
_SHAPES = ("$ref", "type", "properties", "items", "const", "enum", "oneOf", "anyOf", "allOf")
_SCALARS: Mapping[str, Callable[[Schema, bool], Part]] = {
    "string": lambda schema, nullable: _text_part(schema, nullable),
    "integer": lambda schema, nullable: Number(schema=schema, nullable=nullable, whole=True),
    "number": lambda schema, nullable: Number(schema=schema, nullable=nullable, whole=False),
    "boolean": lambda schema, nullable: _boolean(schema, nullable),
}


class _Compiler:
    """Builds parts, resolving references inside the one schema; refuses loops, depth and size."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._definitions: Schema = {name: root[name] for name in ("$defs", "definitions") if name in root}
        self._numbers = count()

    def part(self, schema: Any, trail: tuple[str, ...], depth: int, *, preset: bool = False) -> Part:
        """`trail` are the references followed on the way here; `preset` chooses an optional constant beforehand."""
        if next(self._numbers) >= MAX_FIELDS:
            raise _TooMany
        try:
            resolved, trail = self._resolved(schema, trail)
            return self._part(resolved, trail, depth, preset=preset)
        except _Inexpressible:
            return Free(schema=schema if isinstance(schema, dict) else {})

    def _part(
        self, schema: Schema, trail: tuple[str, ...], depth: int, *, preset: bool = False, in_variant: bool = False
    ) -> Part:
        if "const" in schema:
            return Fixed(schema=schema, value=schema["const"], preset=preset)
        if isinstance(schema.get("enum"), list):
            return _options(schema, [(value, "") for value in schema["enum"]])
        branches = self._branches(schema, trail)
        if branches:
            return self._choice(schema, branches, depth, preset)
        return self._typed(schema, trail, depth, in_variant)

    def _typed(self, schema: Schema, trail: tuple[str, ...], depth: int, in_variant: bool) -> Part:
        kind, nullable = _kind(schema)
        if kind in _SCALARS:
            return _SCALARS[kind](schema, nullable)
        if kind == "null":
            return Fixed(schema=schema, value=None)
        if depth >= MAX_DEPTH:
            raise _Inexpressible
        if kind == "object":
            return self._group(schema, trail, depth, nullable, in_variant)
        return self._rows(schema, trail, depth, nullable)

    def _group(self, schema: Schema, trail: tuple[str, ...], depth: int, nullable: bool, in_variant: bool) -> Part:
        properties = schema.get("properties")
        if not isinstance(properties, dict) or not properties and not in_variant:
            raise _Inexpressible
        parts = {name: self.part(known, trail, depth + 1, preset=in_variant) for name, known in properties.items()}
        has_more = bool(schema.get("additionalProperties")) or any(keyword in schema for keyword in _OTHERS)
        required = frozenset(name for name in schema.get("required", ()) if isinstance(name, str))
        return Group(schema=schema, nullable=nullable, parts=parts, required=required, has_more=has_more)

    def _rows(self, schema: Schema, trail: tuple[str, ...], depth: int, nullable: bool) -> Part:
        if not isinstance(schema.get("items"), dict) or "prefixItems" in schema:
            raise _Inexpressible
        item = self.part(schema["items"], trail, depth + 1)
        return Rows(schema=schema, nullable=nullable, item=item)

    # References

    def _resolved(self, schema: Any, trail: tuple[str, ...]) -> tuple[Schema, tuple[str, ...]]:
        """The schema with what it refers to, and what it is all of, laid into it."""
        if not isinstance(schema, dict) or "$dynamicRef" in schema:
            raise _Inexpressible
        inner = [(other, trail) for other in schema.get("allOf", ())]
        result = {key: value for key, value in schema.items() if key not in ("$ref", "allOf")}
        if "$ref" in schema:
            inner.insert(0, self._target(schema["$ref"], trail))
        for other, way in inner:
            laid_in, followed = self._resolved(other, way)
            result = _merged(laid_in, result)
            trail = tuple(dict.fromkeys((*trail, *followed)))
        return result, trail

    def _target(self, reference: Any, trail: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
        if not isinstance(reference, str) or not reference.startswith("#/") or reference in trail:
            raise _Inexpressible
        node: Any = self._root
        for name in reference[2:].split("/"):
            node = node.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(node, dict) else None
        return node, (*trail, reference)

    # Variants

    def _branches(self, schema: Schema, trail: tuple[str, ...]) -> list[_Branch]:
        given = [schema[keyword] for keyword in ("oneOf", "anyOf") if isinstance(schema.get(keyword), list)]
        shaping = [known for known in given if any(_is_shaping(branch) for branch in known)]
        if len(shaping) > 1:
            raise _Inexpressible
        return [self._branch(schema, branch, trail) for known in shaping for branch in known]

    def _branch(self, schema: Schema, branch: Any, trail: tuple[str, ...]) -> _Branch:
        resolved, trail = self._resolved(branch, trail)
        base = {
            key: value
            for key, value in schema.items()
            if key not in ("oneOf", "anyOf", "title", "description", "default")
        }
        title = text_or_empty(resolved.get("title")) or _branch_title(branch, resolved)
        return _Branch(title, _merged(base, resolved), resolved, trail)

    def _choice(self, schema: Schema, branches: list[_Branch], depth: int, preset: bool) -> Part:
        if all("const" in branch.own and not branch.own.get("properties") for branch in branches):
            return _options(schema, [(branch.own["const"], branch.title) for branch in branches])
        real = [branch for branch in branches if branch.own.get("type") != "null"]
        if len(real) == 1 and len(branches) < 3:
            return self._only(schema, real[0], depth, preset=preset, nullable=len(branches) == 2)
        return self._variants(schema, branches, depth)

    def _only(self, schema: Schema, branch: _Branch, depth: int, *, preset: bool, nullable: bool) -> Part:
        words: Schema = {key: schema[key] for key in ("title", "description", "default") if key in schema}
        part = self._part({**branch.schema, **words}, branch.trail, depth, preset=preset)
        return _as_nullable(part) if nullable else part

    def _variants(self, schema: Schema, branches: list[_Branch], depth: int) -> Part:
        if depth >= MAX_DEPTH:
            raise _Inexpressible
        variants: dict[str, Part] = {}
        for number, branch in enumerate(branches, 1):
            for title, part in _spread(branch.title or f"Variant {number}", self._variant(branch, depth)):
                variants[f"{title} ({len(variants) + 1})" if title in variants else title] = part
        return Variants(schema=schema, variants=variants, definitions=self._definitions)

    def _variant(self, branch: _Branch, depth: int) -> Part:
        if next(self._numbers) >= MAX_FIELDS:
            raise _TooMany
        try:
            return self._part(branch.schema, branch.trail, depth + 1, in_variant=True)
        except _Inexpressible:
            return Free(schema=branch.schema)


@dataclass(frozen=True)
class _Branch:
    """One of a oneOf: `schema` with everything said beside the oneOf, `own` without."""

    title: str
    schema: Schema
    own: Schema
    trail: tuple[str, ...]


def _spread(title: str, part: Part) -> Iterator[tuple[str, Part]]:
    """A variant; of one that is itself a choice, its variants: a place has one choice, and they are all its answers."""
    if not isinstance(part, Variants):
        yield title, part
        return
    yield from part.variants.items()
    if part.nullable:
        yield "Null", Fixed(schema=part.schema, value=None)


def _is_shaping(branch: Any) -> bool:
    """Whether a branch says what to enter, and not only what must be there."""
    return isinstance(branch, dict) and any(keyword in branch for keyword in _SHAPES)


def _branch_title(branch: Any, resolved: Schema) -> str:
    """The word by which people tell a nameless variant: its discriminator, or the name it is referred to by."""
    for known in (resolved.get("properties") or {}).values():
        if isinstance(known, dict) and isinstance(known.get("const"), str):
            return str(known["const"])
    if "const" in resolved:
        return _option_text(resolved["const"])
    return (
        str(branch["$ref"]).rpartition("/")[2] if "$ref" in branch else text_or_empty(resolved.get("type")).capitalize()
    )


def _merged(first: Schema, second: Schema) -> Schema:
    """Both schemas at once; where they differ on a word the second has it."""
    result = {**first, **second}
    ours, theirs = first.get("properties"), second.get("properties")
    if isinstance(ours, dict) and isinstance(theirs, dict):
        both = {name: {"allOf": [ours[name], theirs[name]]} for name in ours if name in theirs}
        result["properties"] = {**ours, **theirs, **both}
    if "required" in first and "required" in second:
        result["required"] = list(dict.fromkeys([*first["required"], *second["required"]]))
    return result


def _kind(schema: Schema) -> tuple[str, bool]:
    """The one type besides null, and whether null is allowed."""
    given = schema.get("type", _implied(schema))
    kinds = [given] if isinstance(given, str) else list(given)
    real = [kind for kind in kinds if kind != "null"]
    if set(real) == {"integer", "number"}:
        real = ["number"]
    if not real and kinds:
        return "null", True
    if len(real) != 1:
        raise _Inexpressible
    return real[0], len(real) < len(kinds)


def _implied(schema: Schema) -> list[str]:
    return ["object"] if "properties" in schema else ["array"] if "items" in schema else []


def _text_part(schema: Schema, nullable: bool) -> Part:
    kind = Moment if schema.get("format") == "date-time" else Text
    return kind(schema=schema, nullable=nullable)


def _boolean(schema: Schema, nullable: bool) -> Part:
    """A checkbox, or where null is a third answer a choice."""
    if not nullable:
        return Flag(schema=schema)
    return Options(schema=schema, nullable=True, values=(True, False), texts=("true", "false"), labels=("Yes", "No"))


def _options(schema: Schema, choices: list[tuple[Any, str]]) -> Part:
    kinds = schema.get("type", "null")
    values = [(value, label) for value, label in choices if value is not None]
    nullable = len(values) < len(choices) and "null" in ([kinds] if isinstance(kinds, str) else kinds)
    others = {_option_text(value) for value, _ in values if not isinstance(value, str)} | {""}
    texts = [
        json.dumps(value) if isinstance(value, str) and value in others else _option_text(value) for value, _ in values
    ]
    labels = [label or text for (_, label), text in zip(values, texts, strict=True)]
    known = tuple(value for value, _ in values)
    return Options(schema=schema, nullable=nullable, values=known, texts=tuple(texts), labels=tuple(labels))


def _as_nullable(part: Part) -> Part:
    return _boolean(part.schema, nullable=True) if isinstance(part, Flag) else replace(part, nullable=True)


def _option_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
