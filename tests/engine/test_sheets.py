"""A CSV file is read as the schema has it, and every fault is told by its line and column."""

from __future__ import annotations

import pytest

from engine import TaskRequest
from engine.sheets import MAX_ROWS, read_cell, read_sheet

ABOUT = TaskRequest("order", "shop", "1.0.0")
SCHEMA = {
    "type": "object",
    "required": ["id"],
    "$defs": {"who": {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}},
    "properties": {
        "id": {"type": "integer", "minimum": 1}, "zip": {"type": "string"}, "gift": {"type": "boolean"}, "lines": {"type": "array"}, "who": {"$ref": "#/$defs/who"},
        "speed": {"enum": ["slow", "fast"]}, "note": {"type": ["string", "null"]},
    },
}  # fmt: skip


def test_cells_become_what_the_schema_has_at_their_place_and_empty_ones_are_left_out() -> None:
    sheet = read_sheet('id;zip;gift;lines;who.name;who.age;speed;free\n7;00123;TRUE;"[{""sku"": 1}]";"Zoë; ""Z""";30;fast;1.5\n\n8;;;;;;;text\n', ABOUT, SCHEMA)
    assert sheet.problems == ()
    assert [(row.line, row.context) for row in sheet.rows] == [
        (2, {"id": 7, "zip": "00123", "gift": True, "lines": [{"sku": 1}], "who": {"name": 'Zoë; "Z"', "age": 30}, "speed": "fast", "free": 1.5}),
        (4, {"id": 8, "free": "text"}),
    ]
    assert sheet.unknown == ("free",)


def test_a_fault_is_told_by_the_line_its_row_begins_in_and_its_column() -> None:
    sheet = read_sheet('id,note,who.age,speed\n1,"two\nlines",1,slow\nseven,,x,\n,,,quick\n0,,,,,over\n', ABOUT, SCHEMA)
    found = {(problem.line, problem.column) for problem in sheet.problems}
    assert {(4, "id"), (4, "who.age"), (5, "speed"), (5, "id"), (6, None)} <= found
    assert all(line != 2 for line, _ in found)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no line"), ("id\n", "no row"), ("id,id\n1,2", "twice"), ("id,\n1,2", "no name"), ("who,who.name\n1,2", "beside"), ('id\n"1', "no CSV"), ("id\n1\0", "NUL"),
        ("a..b\n1", "no name"), ("id\n" + "1\n" * (MAX_ROWS + 1), "more than"), ("id\n" + "1" * 200_000, "no CSV"), ("id\n" + "1" * 1_000_001, "limit"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_refused_in_words(text: str, words: str) -> None:
    sheet = read_sheet(text, ABOUT, SCHEMA)
    assert words in " ".join(problem.message for problem in sheet.problems)
    assert not sheet.rows or sheet.problems


def test_columns_of_the_task_are_no_fields_of_its_context() -> None:
    sheet = read_sheet('id,task:idempotency_key,task:tags,task:priority\n1,inv-1,"eu, vip",-5\n2,,,\n', ABOUT, SCHEMA)
    assert (sheet.problems, sheet.unknown) == ((), ())
    assert [(row.context, row.fields) for row in sheet.rows] == [({"id": 1}, {"idempotency_key": "inv-1", "tags": ["eu", "vip"], "priority": -5}), ({"id": 2}, {})]
    faulty = read_sheet("id,task:idempotency_key,task:tags,task:priority\n1,same,,high\n2,same,,5000\n3,other," + "x" * 101 + ",\n", ABOUT, SCHEMA)
    assert [(each.line, each.column) for each in faulty.problems] == [(2, "task:priority"), (3, "task:idempotency_key"), (3, "task:priority"), (4, "task:tags")]
    assert "of the task there are task:idempotency_key" in read_sheet("id,task:colour\n1,red\n", ABOUT, SCHEMA).problems[0].message


def test_a_workflow_without_a_schema_takes_any_table() -> None:
    sheet = read_sheet("\ufeffa\tb.c\n1\ttrue\n".removeprefix("\ufeff"), ABOUT, None)
    assert (sheet.problems, sheet.rows[0].context) == ((), {"a": 1, "b": {"c": True}})


@pytest.mark.parametrize("cell", ['{"a": 1, "a": 2}', "NaN", "9" * 30, "[" * 5_000])
def test_a_cell_that_no_other_door_would_read_stays_text_for_the_schema_to_object_to(cell: str) -> None:
    assert read_cell(cell, frozenset({"object", "array", "number"})) == cell
