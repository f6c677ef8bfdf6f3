"""The parts of a launch form: what a JSON Schema asks for, and how a JSON value becomes form entries and back.

webapp.form_schema makes parts from a definition's schema; webapp.forms shows and reads them. Entries are the form's names and texts, nothing
else, so the same code reads a browser's submission and a context that is to be launched again.

Every part keeps one promise: what `fill` wrote, `read` gives back exactly. A value that a part's own inputs cannot hold is
written as JSON text in its place.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, Final

from engine import json_text, schemas
from engine.errors import Problem, RequestError
from engine.wording import begun

MAX_FIELDS = 2000

# Beginnings of entry names; the pointer (RFC 6901) of the part follows.
VALUE = "context"
ROWS = "_rows:"
VARIANT = "_variant:"
MORE = "_more:"
AS_JSON = "_json:"
GIVEN = "_given:"
"""An input left blank means absent; with this entry it means the empty value that was filled in."""

Entries = dict[str, str]
Schema = dict[str, Any]


class Absent(Enum):
    """The value of what is not there."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT

_EMPTY_VALUES: Mapping[str, Any] = {"null": None, '""': "", "false": False}
_EMPTY_TEXTS: Mapping[type, str] = {type(None): "null", str: '""', bool: "false", list: "[]", dict: "{}"}


@dataclass
class Reading:
    """One pass over the entries: what could not be read, by pointer; the pointer and the value of every JSON path met."""

    entries: Mapping[str, str]
    problems: dict[str, str] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


def child(at: str, key: str | int) -> str:
    """The pointer of a member."""
    return f"{at}/{key}" if isinstance(key, int) else f"{at}/{key.replace('~', '~0').replace('/', '~1')}"


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are written alike: 1, 1.0 and true are three values."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@dataclass(frozen=True, kw_only=True)
class Part(ABC):
    """What is asked for at one place of a context."""

    schema: Schema
    nullable: bool = False

    @property
    def title(self) -> str:
        return text_or_empty(self.schema.get("title"))

    @property
    def help(self) -> str:
        return text_or_empty(self.schema.get("description"))

    @property
    def default(self) -> Any:
        return self.schema.get("default", ABSENT)

    def fill(self, value: Any, at: str, entries: Entries, *, required: bool) -> None:
        """Write the entries from which `read` gives the value; ABSENT writes none."""
        if value is ABSENT:
            return
        if self._fits(value):
            self._put(value, at, entries)
        if self._reads_as(value, at, entries, required) or self._marked(value, at, entries, required):
            return
        for name in list(self.names(at, entries)):
            entries.pop(name, None)
        entries[AS_JSON + at] = "1"
        entries[VALUE + at] = pretty(value)

    def fresh(self, at: str, entries: Entries, *, required: bool) -> None:
        """Write the entries of a part nobody has touched yet: its default, if it has one."""
        self.fill(self.default, at, entries, required=required)

    def read(self, at: str, path: str, reading: Reading, *, required: bool) -> Any:
        """The JSON value, or ABSENT. A text that cannot be read stays that text, and is a problem of the reading."""
        is_json = AS_JSON + at in reading.entries
        read = FREE._read if is_json else self._read
        value = read(at, path, reading, required=required)
        reading.places[path] = at
        reading.values[path] = value
        return value

    def names(self, at: str, entries: Mapping[str, str]) -> Iterator[str]:
        """The names of all entries this part may have."""
        yield GIVEN + at
        if AS_JSON + at in entries:
            yield from (AS_JSON + at, VALUE + at)
        else:
            yield from self._names(at, entries)

    @abstractmethod
    def _fits(self, value: Any) -> bool: ...

    @abstractmethod
    def _put(self, value: Any, at: str, entries: Entries) -> None: ...

    @abstractmethod
    def _read(self, at: str, path: str, reading: Reading, *, required: bool) -> Any: ...

    @abstractmethod
    def _names(self, at: str, entries: Mapping[str, str]) -> Iterator[str]: ...

    def _reads_as(self, value: Any, at: str, entries: Entries, required: bool) -> bool:
        back = self.read(at, "$", Reading(entries), required=required)
        return back is not ABSENT and same(back, self._kept(value))

    def _marked(self, value: Any, at: str, entries: Entries, required: bool) -> bool:
        entries[GIVEN + at] = _EMPTY_TEXTS.get(type(value), "")
        return self._reads_as(value, at, entries, required)

    def _kept(self, value: Any) -> Any:
        return value

    def _is_null_when_blank(self, *, required: bool) -> bool:
        # left out, a default would come back in place of the null that was chosen
        return self.nullable and (required or self._has_default)

    @property
    def _has_default(self) -> bool:
        return self.default not in (ABSENT, None)

    def _untouched(self, at: str, entries: Mapping[str, str]) -> bool:
        """Whether the entries say no more than a fresh part would."""
        fresh: Entries = {}
        self.fresh(at, fresh, required=False)
        ours = {name: entries[name] for name in self.names(at, entries) if name != GIVEN + at and entries.get(name)}
        return ours == {name: text for name, text in fresh.items() if name != GIVEN + at and text}


# One input


@dataclass(frozen=True, kw_only=True)
class Leaf(Part):
    """A part with one input."""

    def read_text(self, at: str, reading: Reading, *, required: bool) -> Any:
        text = reading.entries.get(VALUE + at, "")
        if self._is_blank(text):
            return self._blank(at, reading.entries, required)
        try:
            return self.parse(text)
        except ValueError as problem:
            reading.problems[at] = str(problem)
            return text

    @abstractmethod
    def parse(self, text: str) -> Any:
        """The value of a text that is not blank; raises ValueError with a sentence for the user."""

    def _put(self, value: Any, at: str, entries: Entries) -> None:
        entries[VALUE + at] = self._write(value)

    def _read(self, at: str, path: str, reading: Reading, *, required: bool) -> Any:
        return self.read_text(at, reading, required=required)

    def _names(self, at: str, entries: Mapping[str, str]) -> Iterator[str]:
        yield VALUE + at

    def _write(self, value: Any) -> str:
        return str(value)

    def _is_blank(self, text: str) -> bool:
        return not text.strip()

    def _blank(self, at: str, entries: Mapping[str, str], required: bool) -> Any:
        given = entries.get(GIVEN + at, "")
        if given in _EMPTY_VALUES:
            return _EMPTY_VALUES[given]
        return None if self._is_null_when_blank(required=required) else ABSENT


@dataclass(frozen=True, kw_only=True)
class Text(Leaf):
    """A string."""

    @property
    def format(self) -> str:
        return text_or_empty(self.schema.get("format"))

    def parse(self, text: str) -> str:
        return text

    def _fits(self, value: Any) -> bool:
        # A browser turns a lone carriage return into a line feed.
        return isinstance(value, str) and "\r" not in value

    def _is_blank(self, text: str) -> bool:
        return not text


_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d)(:\d\d(?:\.\d+)?)?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Moment(Text):
    """A date-time; without a zone it is UTC."""

    def parse(self, text: str) -> str:
        found = _MOMENT.fullmatch(text.strip())
        return f"{found[1]}T{found[2]}{found[3] or ':00'}Z" if found else text

    def _kept(self, value: Any) -> Any:
        return self.parse(value) if isinstance(value, str) else value

    def _write(self, value: Any) -> str:
        # The browser's own input knows no zone.
        local = str(value).removesuffix("Z")
        return local if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", local, re.ASCII) else str(value)


_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_MAX_DIGITS = 400


@dataclass(frozen=True, kw_only=True)
class Number(Leaf):
    """A number; integers of any size keep all their digits."""

    whole: bool

    def parse(self, text: str) -> int | float:
        text = text.strip()
        if len(text) > _MAX_DIGITS:
            raise ValueError("is too long for a number")
        if _INTEGER.fullmatch(text):
            return int(text)
        if not _NUMBER.fullmatch(text):
            raise ValueError("is not a whole number" if self.whole else "is not a number")
        return self._real(float(text))

    def _real(self, number: float) -> int | float:
        if number in (float("inf"), float("-inf")):
            raise ValueError("is too large")
        if self.whole and not number.is_integer():
            raise ValueError("is not a whole number")
        return number

    def _fits(self, value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, kw_only=True)
class Flag(Leaf):
    """A checkbox. Unticked it means false where there must be a value, else absent."""

    def parse(self, text: str) -> bool:
        return text != "false"

    def _fits(self, value: Any) -> bool:
        return isinstance(value, bool)

    def _put(self, value: Any, at: str, entries: Entries) -> None:
        if value:
            entries[VALUE + at] = "true"

    def _blank(self, at: str, entries: Mapping[str, str], required: bool) -> Any:
        # Left out, a default would come back as true.
        return False if required or self.default is not ABSENT else super()._blank(at, entries, required)


@dataclass(frozen=True, kw_only=True)
class Options(Leaf):
    """One of several values, each with the text that stands for it and a label."""

    values: tuple[Any, ...]
    texts: tuple[str, ...]
    labels: tuple[str, ...]

    def parse(self, text: str) -> Any:
        if text not in self.texts:
            raise ValueError("is not one of the choices")
        return self.values[self.texts.index(text)]

    def _fits(self, value: Any) -> bool:
        return any(same(value, known) for known in self.values)

    def _write(self, value: Any) -> str:
        return next(text for text, known in zip(self.texts, self.values, strict=True) if same(value, known))


@dataclass(frozen=True, kw_only=True)
class Fixed(Leaf):
    """The only value allowed: there when it must be, else a checkbox (ticked beforehand inside a variant)."""

    value: Any
    preset: bool = False

    def is_always(self, *, required: bool) -> bool:
        return required or self.default is not ABSENT

    def fresh(self, at: str, entries: Entries, *, required: bool) -> None:
        if self.preset and not self.is_always(required=required):
            self._put(self.value, at, entries)

    def parse(self, text: str) -> Any:
        return self.value

    def _fits(self, value: Any) -> bool:
        return same(value, self.value)

    def _put(self, value: Any, at: str, entries: Entries) -> None:
        entries[VALUE + at] = "true"

    def _blank(self, at: str, entries: Mapping[str, str], required: bool) -> Any:
        return self.value if self.is_always(required=required) else ABSENT


@dataclass(frozen=True, kw_only=True)
class Free(Leaf):
    """Any JSON, as text."""

    def parse(self, text: str) -> Any:
        try:
            return json_text.read_input(text)
        except RequestError as error:
            raise ValueError("; ".join(sentence(problem.path, problem.message) for problem in error.problems)) from None

    def fill(self, value: Any, at: str, entries: Entries, *, required: bool) -> None:
        if value is not ABSENT:
            self._put(value, at, entries)

    def _fits(self, value: Any) -> bool:
        return True

    def _write(self, value: Any) -> str:
        return pretty(value)


FREE = Free(schema={})


# Several inputs


@dataclass(frozen=True, kw_only=True)
class Whole(Part):
    """A part made of parts. Untouched, not required and without a default of its own it is absent; emptied of its default it is null, if it may be."""

    def _read(self, at: str, path: str, reading: Reading, *, required: bool) -> Any:
        value = self._collect(at, path, reading)
        if self._is_due(at, reading.entries, required):
            return value
        is_null = reading.entries.get(GIVEN + at) == "null" or self._is_null_when_blank(required=required)
        return None if is_null else ABSENT

    def _is_due(self, at: str, entries: Mapping[str, str], required: bool) -> bool:
        if entries.get(GIVEN + at) in ("{}", "[]") or (required and not self.nullable):
            return True
        return not self._is_emptied(at, entries) if self._has_default else not self._untouched(at, entries)

    def _is_emptied(self, at: str, entries: Mapping[str, str]) -> bool:
        is_blank = not any(entries.get(name) for name in self.names(at, entries) if not name.startswith(GIVEN))
        return self.nullable and is_blank and (entries.get(GIVEN + at) == "null" or not self._untouched(at, entries))

    @abstractmethod
    def _collect(self, at: str, path: str, reading: Reading) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class Group(Whole):
    """An object: one part per declared property, and JSON text for others where the schema speaks of others."""

    parts: Mapping[str, Part]
    required: frozenset[str]
    has_more: bool

    def fill(self, value: Any, at: str, entries: Entries, *, required: bool) -> None:
        if value is ABSENT:
            self._start(at, entries)
        else:
            super().fill(value, at, entries, required=required)

    def fresh(self, at: str, entries: Entries, *, required: bool) -> None:
        if self._fits(self.default):
            self._put(self.default, at, entries)
        else:
            self._start(at, entries)

    def _start(self, at: str, entries: Entries) -> None:
        for name, part in self.parts.items():
            part.fresh(child(at, name), entries, required=name in self.required)

    def _fits(self, value: Any) -> bool:
        return isinstance(value, dict)

    def _put(self, value: Any, at: str, entries: Entries) -> None:
        for name, part in self.parts.items():
            part.fill(value.get(name, ABSENT), child(at, name), entries, required=name in self.required)
        more = {name: known for name, known in value.items() if name not in self.parts}
        if more:
            entries[MORE + at] = pretty(more)

    def _collect(self, at: str, path: str, reading: Reading) -> dict[str, Any]:
        values = self._more(at, reading)
        for name, part in self.parts.items():
            place = json_text.child_path(path, name)
            value = part.read(child(at, name), place, reading, required=name in self.required)
            if value is not ABSENT:
                values[name] = value
        return values

    def _more(self, at: str, reading: Reading) -> dict[str, Any]:
        text = reading.entries.get(MORE + at, "")
        try:
            more = FREE.parse(text) if text.strip() else {}
        except ValueError as problem:
            reading.problems[MORE + at] = str(problem)
            return {}
        if isinstance(more, dict):
            return dict(more)
        reading.problems[MORE + at] = "is not a JSON object"
        return {}

    def _names(self, at: str, entries: Mapping[str, str]) -> Iterator[str]:
        yield MORE + at
        for name, part in self.parts.items():
            yield from part.names(child(at, name), entries)


@dataclass(frozen=True, kw_only=True)
class Rows(Whole):
    """An array of alike items. A blank row of one input does not count, a row of several does."""

    item: Part

    def count(self, at: str, entries: Mapping[str, str]) -> int:
        text = entries.get(ROWS + at, "")
        return int(text) if text.isdecimal() else 0

    def fresh(self, at: str, entries: Entries, *, required: bool) -> None:
        if self._fits(self.default):
            self._put(self.default, at, entries)
            return
        for _ in range(self._least() if required else 0):
            self.add(at, entries)

    def add(self, at: str, entries: Entries) -> None:
        """One more row, fresh."""
        number = self.count(at, entries)
        entries[ROWS + at] = str(number + 1)
        self.item.fresh(child(at, number), entries, required=True)

    def _least(self) -> int:
        least = self.schema.get("minItems", 0)
        return min(int(least), 20) if isinstance(least, int | float) else 0

    def _fits(self, value: Any) -> bool:
        return isinstance(value, list)

    def _put(self, value: Any, at: str, entries: Entries) -> None:
        if value:
            entries[ROWS + at] = str(len(value))
        for number, item in enumerate(value):
            self.item.fill(item, child(at, number), entries, required=True)

    def _collect(self, at: str, path: str, reading: Reading) -> Any:
        values: list[Any] = []
        for number in range(self.count(at, reading.entries)):
            place = json_text.child_path(path, len(values))
            value = self.item.read(child(at, number), place, reading, required=True)
            if value is not ABSENT:
                values.append(value)
        return values

    def _read(self, at: str, path: str, reading: Reading, *, required: bool) -> Any:
        value = super()._read(at, path, reading, required=required)
        is_due = required or self.default is not ABSENT or reading.entries.get(GIVEN + at) == "[]"
        return ABSENT if value == [] and not is_due else value

    def _names(self, at: str, entries: Mapping[str, str]) -> Iterator[str]:
        yield ROWS + at
        for number in range(self.count(at, entries)):
            yield from self.item.names(child(at, number), entries)


@dataclass(frozen=True, kw_only=True)
class Variants(Part):
    """One of several parts, chosen by title. A choice that need not be made can be left open."""

    variants: Mapping[str, Part]
    definitions: Schema

    def chosen(self, at: str, entries: Mapping[str, str]) -> Part | None:
        return self.variants.get(entries.get(VARIANT + at, ""))

    def fresh(self, at: str, entries: Entries, *, required: bool) -> None:
        if self.default is not ABSENT:
            self.fill(self.default, at, entries, required=required)
        elif required and not self.nullable:
            title, part = next(iter(self.variants.items()))
            entries[VARIANT + at] = title
            part.fresh(at, entries, required=True)

    def problems(self, title: str, value: Any, path: str) -> list[Problem]:
        """What one variant says about a value."""
        return schemas.check(self._schemas[title], value, path)

    @cached_property
    def _schemas(self) -> dict[str, schemas.ContextSchema]:
        return {
            title: schemas.ContextSchema({**part.schema, **self.definitions}) for title, part in self.variants.items()
        }

    def _fits(self, value: Any) -> bool:
        return value is not None or not self.nullable

    def _put(self, value: Any, at: str, entries: Entries) -> None:
        title = self._best(value)
        entries[VARIANT + at] = title
        self.variants[title].fill(value, at, entries, required=True)

    def _best(self, value: Any) -> str:
        """The first variant that accepts the value, else the one with the fewest objections."""
        return min(self.variants, key=lambda title: len(self.problems(title, value, "$")))

    def _read(self, at: str, path: str, reading: Reading, *, required: bool) -> Any:
        part = self.chosen(at, reading.entries)
        if part is not None:
            return part.read(at, path, reading, required=True)
        was_null = self.nullable and reading.entries.get(GIVEN + at) == "null"
        return None if was_null or self._is_null_when_blank(required=required) else ABSENT

    def _names(self, at: str, entries: Mapping[str, str]) -> Iterator[str]:
        yield VARIANT + at
        part = self.chosen(at, entries)
        if part is not None:
            yield from part.names(at, entries)


# Words


def pretty(value: Any) -> str:
    """JSON for people to read and change."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def sentence(path: str, message: str) -> str:
    """A message with the part of a path that its place does not tell already."""
    inner = path.removeprefix("$").lstrip(".")
    return f"{inner}: {message}" if inner else begun(message)


def text_or_empty(value: Any) -> str:
    return value if isinstance(value, str) else ""
