"""Which parts of a JSON value are secret, by the marks of its schema and the names of its keys, and the value without them. Decided without a database.

A schema marks a field by `"writeOnly": true`, `"format": "password"` or `"x-sensitive": true`. Everything that shows a context, a result or an event, and
every message about one, goes through here; handlers alone see the value.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from engine import patterns
from engine.hiding.masking import MASK, is_secret_name

SHORTEST = 4
"""Of fewer characters a value is not looked for in other texts: it would be found in all of them."""
DEEPEST = 64

_TOGETHER = ("allOf", "anyOf", "oneOf")
_INSTEAD = ("if", "then", "else")
_OF_EVERY_KEY = ("additionalProperties", "unevaluatedProperties")
_OF_EVERY_ITEM = ("items", "contains", "unevaluatedItems")
_VALUES = ("default", "const", "enum", "examples")
_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""They hold schemas by names, which may be those of keywords."""

Place = tuple[str, ...]


def is_marked(schema: Any) -> bool:
    """Whether the schema says that its value is secret."""
    return isinstance(schema, dict) and (schema.get("writeOnly") is True or schema.get("x-sensitive") is True or schema.get("format") == "password")


def masked(value: Any, schema: Any = None) -> Any:
    """A copy of the value with MASK in place of everything secret."""
    return _Walk(schema).masked(value)


def secret_texts(value: Any, schema: Any = None, place: Place = ()) -> frozenset[str]:
    """What is secret in the value, as texts that could turn up elsewhere; `place` is where it stood in what the schema describes."""
    walk = _Walk(schema)
    walk.masked(value, walk.at(place))
    return frozenset(text for _, secret in walk.found for text in _texts(secret))


def secret_places(value: Any, schema: Any = None) -> list[Place]:
    """Where the value holds secrets, in its order; an entry of a list is named by its number."""
    walk = _Walk(schema)
    walk.masked(value)
    return [place for place, _ in walk.found]


def at_place(value: Any, place: Iterable[str]) -> Any:
    """What the value holds there. Raises `LookupError`."""
    for part in place:
        if isinstance(value, list) and part.isdecimal():
            value = value[int(part)]
        elif isinstance(value, dict):
            value = value[part]
        else:
            raise LookupError(part)
    return value


def restored(given: Any, present: Any, schema: Any = None) -> Any:
    """What somebody made of a masked value, with the secrets that they left masked as they were."""
    return _restored(given, present, masked(present, schema))


def without_masks(value: Any) -> Any:
    """The masked value with nothing at all where a mask stands in an object."""
    if isinstance(value, dict):
        return {key: without_masks(member) for key, member in value.items() if member != MASK}
    return [without_masks(member) for member in value] if isinstance(value, list) else value


def mask_places(value: Any, place: Place = ()) -> list[Place]:
    """Where the masked value has its masks, in its order; an entry of a list is named by its number."""
    if value == MASK:
        return [place]
    members: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for name, member in members for found in mask_places(member, (*place, str(name)))]


def scrubbed(text: str, secrets: Iterable[str]) -> str:
    """The text with MASK wherever one of the secrets stands in it."""
    for secret in sorted(secrets, key=len, reverse=True):
        if secret in text:
            text = text.replace(secret, MASK)
    return text


def scrubbed_value(value: Any, secrets: frozenset[str]) -> Any:
    """The same of every text of a JSON value, and of its numbers."""
    if not secrets:
        return value
    if isinstance(value, dict):
        return {key: scrubbed_value(member, secrets) for key, member in value.items()}
    if isinstance(value, list):
        return [scrubbed_value(member, secrets) for member in value]
    if isinstance(value, str):
        return scrubbed(value, secrets)
    return MASK if isinstance(value, (int, float)) and str(value) in secrets else value


def shown_schema(schema: Any) -> Any:
    """The schema as it may be shown: without the values that it names for secret fields."""
    return _shown(schema, schema, is_secret=False)


def leads_to_secret(place: Place, schema: Any = None) -> bool:
    """Whether what stands at that place of a context is secret, or may be; entries of a list are left out of the place."""
    if any(is_secret_name(part) for part in place):
        return True
    walk, here = _Walk(schema), [schema]
    for part in (*place, None):
        known = walk.with_entries(here)
        if any(map(is_marked, known)):
            return True
        here = [] if part is None else list(walk.of_key(known, part))
    return False


def masked_part(value: Any, schema: Any, place: Place) -> Any:
    """The same of a value that was taken from that place of one that the schema describes."""
    walk = _Walk(schema)
    return walk.masked(value, walk.at(place))


class _Walk:
    """One way through a value beside its schema; `found` are the secrets on it."""

    def __init__(self, schema: Any) -> None:
        self._root = schema
        self.found: list[tuple[Place, Any]] = []

    def masked(self, value: Any, schemas: list[Any] | None = None) -> Any:
        return self._masked(value, [self._root] if schemas is None else schemas, ())

    def _masked(self, value: Any, schemas: list[Any], place: Place) -> Any:
        known = list(self.spread(schemas)) if schemas else []
        if value is not None and any(map(is_marked, known)):
            return self._secret(value, place)
        if isinstance(value, dict):
            return {key: self._member(key, member, known, (*place, key)) for key, member in value.items()}
        if isinstance(value, list):
            return [self._masked(each, list(_of_item(known, no)), (*place, str(no))) for no, each in enumerate(value)]
        return value

    def _member(self, key: str, value: Any, known: list[dict[str, Any]], place: Place) -> Any:
        if is_secret_name(key) and value is not None and not isinstance(value, bool):
            return self._secret(value, place)
        return self._masked(value, list(self.of_key(known, key)) if known else [], place)

    def _secret(self, value: Any, place: Place) -> str:
        self.found.append((place, value))
        return MASK

    def at(self, place: Place) -> list[Any]:
        """The schemas of that place."""
        here = [self._root]
        for part in place:
            known = list(self.spread(here))
            here = list(_of_item(known, int(part))) if part.isdecimal() else list(self.of_key(known, part))
        return here

    def spread(self, schemas: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """The schemas with all that hold beside them, by whatever branch: what may be secret is."""
        waiting, seen = [each for each in schemas if isinstance(each, dict)], set[int]()
        while waiting:
            schema = waiting.pop()
            if id(schema) in seen:
                continue
            seen.add(id(schema))
            yield schema
            waiting += [each for each in self._beside(schema) if isinstance(each, dict)]

    def with_entries(self, schemas: Iterable[Any]) -> list[dict[str, Any]]:
        """The schemas of a place, and of the entries where it is a list, however deep."""
        known: list[dict[str, Any]] = []
        below = list(self.spread(schemas))
        for _ in range(DEEPEST):
            known += below
            below = [each for each in self.spread(one for schema in below for one in _all_items(schema)) if all(each is not other for other in known)]
        return known

    def _beside(self, schema: dict[str, Any]) -> Iterator[Any]:
        for reference in (schema.get("$ref"), schema.get("$dynamicRef")):
            if isinstance(reference, str):
                yield _referred(self._root, reference)
        for keyword in _TOGETHER:
            yield from schema.get(keyword) or ()
        yield from (schema.get(keyword) for keyword in _INSTEAD)
        yield from (schema.get("dependentSchemas") or {}).values()

    def of_key(self, known: Iterable[dict[str, Any]], key: str) -> Iterator[Any]:
        """The schemas of a member."""
        for schema in known:
            yield (schema.get("properties") or {}).get(key)
            yield from (member for pattern, member in (schema.get("patternProperties") or {}).items() if patterns.search(pattern, key))
            if key not in (schema.get("properties") or {}):
                yield from (schema.get(keyword) for keyword in _OF_EVERY_KEY)


def _of_item(known: Iterable[dict[str, Any]], no: int) -> Iterator[Any]:
    for schema in known:
        first = schema.get("prefixItems") or []
        if no < len(first):
            yield first[no]
        yield from (schema.get(keyword) for keyword in _OF_EVERY_ITEM)


def _all_items(schema: dict[str, Any]) -> Iterator[Any]:
    yield from schema.get("prefixItems") or ()
    yield from (schema.get(keyword) for keyword in _OF_EVERY_ITEM)


def _referred(root: Any, reference: str) -> Any:
    if reference == "#" or not reference.startswith("#"):
        return root
    return _at(root, reference[2:].split("/")) if reference.startswith("#/") else _anchored(root, reference[1:])


def _at(node: Any, parts: list[str]) -> Any:
    try:
        return at_place(node, [part.replace("~1", "/").replace("~0", "~") for part in parts])
    except LookupError:
        return None


def _anchored(node: Any, anchor: str, depth: int = DEEPEST) -> Any:
    if isinstance(node, dict) and anchor in (node.get("$anchor"), node.get("$dynamicAnchor")):
        return node
    members: Iterable[Any] = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return next((found for member in members if depth and (found := _anchored(member, anchor, depth - 1)) is not None), None)


def _texts(secret: Any) -> Iterator[str]:
    """The value as it could stand in a text: as it is, and as Python and JSON write it."""
    if isinstance(secret, (dict, list)):
        for member in secret.values() if isinstance(secret, dict) else secret:
            yield from _texts(member)
    elif secret is not None and not isinstance(secret, bool):
        text = str(secret)
        yield from (each for each in {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1]} if len(each) >= SHORTEST)


def _restored(given: Any, present: Any, shown: Any) -> Any:
    if given == MASK and shown == MASK:
        return present
    if isinstance(given, dict) and isinstance(present, dict) and isinstance(shown, dict):
        return {key: _restored(member, present.get(key), shown.get(key)) for key, member in given.items()}
    if isinstance(given, list) and isinstance(present, list) and isinstance(shown, list) and len(given) == len(present):
        return [_restored(*each) for each in zip(given, present, shown, strict=True)]
    return given


def _shown(schema: Any, root: Any, *, is_secret: bool) -> Any:
    if isinstance(schema, list):
        return [_shown(each, root, is_secret=is_secret) for each in schema]
    if not isinstance(schema, dict):
        return schema
    is_secret = is_secret or is_marked(schema)
    kept = {key: each for key, each in schema.items() if not (is_secret and key in _VALUES)}
    return {key: _shown_part(key, each, kept, root, is_secret) for key, each in kept.items()}


def _shown_part(key: str, part: Any, schema: dict[str, Any], root: Any, is_secret: bool) -> Any:
    if key in ("default", "const"):
        return _within(part, schema, root)
    if key in ("enum", "examples") and isinstance(part, list):
        return [_within(each, schema, root) for each in part]
    if key in _BY_NAME and isinstance(part, Mapping):
        return {name: _shown(each, root, is_secret=is_secret or (key == "properties" and is_secret_name(name))) for name, each in part.items()}
    return _shown(part, root, is_secret=is_secret)


def _within(value: Any, schema: dict[str, Any], root: Any) -> Any:
    return _Walk(root).masked(value, [schema])
