"""A table of contexts for one workflow, a row for each task: read from CSV and held to the schema, before anything is made of it. Needs no database.

Columns of OF_TASK are no fields of the context: they say what the task itself is to have.
"""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import islice
from typing import Any

from engine import json_text
from engine.errors import RequestError
from engine.requests import TaskRequest, checked_context

MAX_ROWS = 2_000
MAX_CHARACTERS = 1_000_000
MAX_COLUMNS = 200
MOST_PROBLEMS = 100
CHECK_SECONDS = 8.0
DELIMITERS = ",;\t"
PREFIX = "task:"
OF_TASK = ("task:idempotency_key", "task:tags", "task:priority")


@dataclass(frozen=True, slots=True)
class SheetProblem:
    """One thing to correct: in which line and column, as far as it is in one."""

    line: int | None
    column: str | None
    message: str


@dataclass(frozen=True, slots=True)
class SheetRow:
    """The context that a row stands for, which begins in that line, and what else its task is to have, by the names of `TaskRequest`."""

    line: int
    context: dict[str, Any]
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sheet:
    """What was read; with any `problems` nothing may be made of it. `unknown` columns are none of the schema's, which need not be wrong."""

    columns: tuple[str, ...]
    rows: tuple[SheetRow, ...]
    problems: tuple[SheetProblem, ...]
    unknown: tuple[str, ...] = ()


def read_sheet(text: str, about: TaskRequest, schema: Mapping[str, Any] | None) -> Sheet:
    """The rows of a CSV text with names of fields in its first line, such as `order_id` or `customer.name`; each is checked as a context of what `about` asks for.

    `task:idempotency_key`, `task:tags` with commas between them and `task:priority` are of the task. An empty cell leaves its field out. Numbers, `true` and `false` are read as the schema has them, lists and objects as JSON.
    """
    try:
        lines = _lines(text)
        header = next(lines, None)
        if header is None:
            return Sheet((), (), (SheetProblem(None, None, "there is no line in it"),))
        columns = tuple(name.strip() for name in header[1])
        if problems := tuple(_header_problems(columns)):
            return Sheet(columns, (), problems)
        return _checked(columns, list(islice(lines, MAX_ROWS + 1)), about, schema)
    except csv.Error as error:
        return Sheet((), (), (SheetProblem(None, None, f"this is no CSV: {error}"),))


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Each row with the number of its first line; rows without any text are left out."""
    if len(text) > MAX_CHARACTERS:
        raise csv.Error(f"it has {len(text):,} characters, and the limit is {MAX_CHARACTERS:,}")
    if "\0" in text:
        raise csv.Error("it holds a NUL character")
    first = text.lstrip().partition("\n")[0]
    reader = csv.reader(io.StringIO(text), delimiter=max(DELIMITERS, key=first.count), strict=True)
    begins = 1
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield begins, cells
        begins = reader.line_num + 1


def _header_problems(columns: tuple[str, ...]) -> Iterator[SheetProblem]:
    if len(columns) > MAX_COLUMNS:
        yield SheetProblem(1, None, f"there are {len(columns)} columns, and the limit is {MAX_COLUMNS}")
        return
    for number, name in enumerate(columns, 1):
        if not all(name.split(".")):
            yield SheetProblem(1, f"{number}", "the column has no name")
        elif name.startswith(PREFIX) and name not in OF_TASK:
            yield SheetProblem(1, name, f"there is no such column; of the task there are {', '.join(OF_TASK)}")
        elif name in columns[: number - 1]:
            yield SheetProblem(1, name, "the column is there twice")
        elif clash := next((other for other in columns if other.startswith(f"{name}.")), None):
            yield SheetProblem(1, name, f"it cannot stand beside {clash}, which is a part of it")


def _checked(columns: tuple[str, ...], lines: list[tuple[int, list[str]]], about: TaskRequest, schema: Mapping[str, Any] | None) -> Sheet:
    if not lines:
        return Sheet(columns, (), (SheetProblem(None, None, "there is no row below the names of the columns"),))
    if len(lines) > MAX_ROWS:
        return Sheet(columns, (), (SheetProblem(lines[-1][0], None, f"there are more than {MAX_ROWS:,} rows: launch them in parts"),))
    kinds = {column: kinds_at(schema, column) for column in columns}
    rows: list[SheetRow] = []
    problems: list[SheetProblem] = []
    keys: dict[str, int] = {}
    ends_at = time.monotonic() + CHECK_SECONDS
    for line, cells in lines:
        row = SheetRow(line, _context(columns, cells, kinds), _fields(columns, cells))
        rows.append(row)
        problems += _key_problems(row, keys)
        problems += _row_problems(row, columns, cells, about, schema)
        if len(problems) >= MOST_PROBLEMS:
            break
        if time.monotonic() > ends_at:
            problems.append(SheetProblem(line, None, "checking takes too long from here on: launch them in parts"))
            break
    return Sheet(columns, tuple(rows), tuple(problems[:MOST_PROBLEMS]), tuple(_unknown(columns, schema)))


def _context(columns: tuple[str, ...], cells: list[str], kinds: Mapping[str, frozenset[str]]) -> dict[str, Any]:
    context: dict[str, Any] = {}
    for column, cell in zip(columns, cells, strict=False):
        if cell.strip() and column not in OF_TASK:
            *way, name = column.split(".")
            place = context
            for part in way:
                place = place.setdefault(part, {})
            place[name] = read_cell(cell, kinds[column])
    return context


def _fields(columns: tuple[str, ...], cells: list[str]) -> dict[str, Any]:
    """What the row says of its task; a priority that is no number stays text, for the request to object to."""
    given = {column.removeprefix(PREFIX): cell.strip() for column, cell in zip(columns, cells, strict=False) if column in OF_TASK and cell.strip()}
    read: dict[str, Any] = dict(given)
    if "tags" in given:
        read["tags"] = [tag.strip() for tag in given["tags"].split(",") if tag.strip()]
    if re.fullmatch(r"-?[0-9]{1,6}", given.get("priority", "")):
        read["priority"] = int(given["priority"])
    return read


def _key_problems(row: SheetRow, keys: dict[str, int]) -> Iterator[SheetProblem]:
    key = row.fields.get("idempotency_key")
    if key is not None and (earlier := keys.setdefault(key, row.line)) != row.line:
        yield SheetProblem(row.line, "task:idempotency_key", f"line {earlier} has this key already")


def read_cell(cell: str, kinds: frozenset[str]) -> Any:
    """What a cell means where these kinds of values may stand; text that is none of them stays text, for the schema to object to."""
    if "string" in kinds:
        return cell
    try:
        read = json_text.read_input(cell.strip().lower() if cell.strip().lower() in ("true", "false", "null") else cell)
    except RequestError:
        return cell
    return read if kinds or not isinstance(read, str) else cell


def kinds_at(schema: Mapping[str, Any] | None, column: str) -> frozenset[str]:
    """The types that the schema allows at that place; none where it says nothing."""
    node: Any = schema
    for part in column.split("."):
        node = _followed(schema, node)
        properties = node.get("properties") if isinstance(node, Mapping) else None
        node = properties.get(part) if isinstance(properties, Mapping) else None
    return _kinds(schema, _followed(schema, node))


def _kinds(root: Any, node: Any) -> frozenset[str]:
    if not isinstance(node, Mapping):
        return frozenset()
    if "type" in node:
        return frozenset([node["type"]] if isinstance(node["type"], str) else node["type"])
    told = [*node.get("enum", ()), *([node["const"]] if "const" in node else ())]
    if any(isinstance(value, str) for value in told):
        return frozenset({"string"})
    several = [_followed(root, part) for word in ("oneOf", "anyOf") for part in node.get(word, ())]
    return frozenset().union(*(_kinds(None, part) for part in several))


def _followed(root: Any, node: Any) -> Any:
    """The node, or what it refers to within the schema."""
    for _ in range(10):
        reference = node.get("$ref") if isinstance(node, Mapping) else None
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return node
        node = root
        for part in reference[2:].split("/"):
            node = node.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(node, Mapping) else None
    return node


def _row_problems(row: SheetRow, columns: tuple[str, ...], cells: list[str], about: TaskRequest, schema: Mapping[str, Any] | None) -> Iterator[SheetProblem]:
    if any(cell.strip() for cell in cells[len(columns) :]):
        yield SheetProblem(row.line, None, f"there are {len(cells)} cells, and {len(columns)} columns have a name")
        return
    try:
        request = TaskRequest.of({"name": about.name, "namespace": about.namespace, "version": about.version, "context": row.context, **row.fields})
        checked_context(request, schema)
    except RequestError as error:
        for problem in error.problems:
            yield SheetProblem(row.line, _column(problem.path, columns), problem.message)


def _column(path: str, columns: tuple[str, ...]) -> str | None:
    """The column that a problem's place is in, or the field that has none; None for the whole row."""
    if f"{PREFIX}{path.partition('[')[0]}" in columns:
        return f"{PREFIX}{path.partition('[')[0]}"
    place = path.removeprefix("context").removeprefix("$").removeprefix(".")
    inside = [name for name in columns if place == name or place.startswith((f"{name}.", f"{name}["))]
    return max(inside, key=len) if inside else place or None


def _unknown(columns: tuple[str, ...], schema: Mapping[str, Any] | None) -> Iterator[str]:
    properties = (schema or {}).get("properties") or {}
    for column in columns:
        first = column.partition(".")[0]
        if column not in OF_TASK and properties and first not in properties:
            found = get_close_matches(first, list(properties), n=1, cutoff=0.6)
            yield f"{column} (is it {found[0]}?)" if found else column
