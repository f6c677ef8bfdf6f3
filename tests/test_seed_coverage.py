"""`docs/seed-coverage.md` says which test proves each promise: every number is there once, and whatever the page names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "seed-coverage.md").read_text()
TABLES, _, LIST = PAGE.partition("\n## Not there yet\n")
PROVEN = {row[0]: row[1:] for row in re.findall(r"^\| ([SFC]\d+) \| (.+?) \| (.+?) \| (.+?) \|$", TABLES, re.MULTILINE)}
MISSING = dict(re.findall(r"^- \*\*([SFC]\d+)\*\* (.+)$", LIST, re.MULTILINE))
ALL = [*(f"S{number}" for number in range(1, 150)), *(f"F{number}" for number in range(1, 33)), *(f"C{number}" for number in range(1, 19))]
NOT_THERE_YET = 0
"""Goes down when something of the list is built, and never up."""


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@cache
def collected(path: Path) -> frozenset[str]:
    """The tests that pytest collects from a file: functions of the module, and methods of its Test classes. Parameters are left out."""
    if not re.fullmatch(r"test_\w+\.py", path.name):
        return frozenset()
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        inside = node.body if isinstance(node, ast.ClassDef) and node.name.startswith("Test") else [node]
        found |= {each.name for each in inside if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)) and each.name.startswith("test")}
    return frozenset(found)


def test_every_promise_stands_there_once() -> None:
    numbers = re.findall(r"^(?:\| |- \*\*)([SFC]\d+)\b", PAGE, re.MULTILINE)
    assert sorted(numbers) == sorted(ALL)
    assert set(PROVEN) | set(MISSING) == set(ALL)


def test_what_is_not_there_yet_does_not_grow_unnoticed() -> None:
    assert len(MISSING) == NOT_THERE_YET


@pytest.mark.parametrize("number", PROVEN)
def test_what_the_page_names_exists(number: str) -> None:
    promise, where, proof = PROVEN[number]
    assert promise
    files, proofs = named(where), named(proof)
    assert files
    assert proofs
    assert [file for file in files if not (ROOT / file).is_file()] == []
    for each in proofs:
        file, _, test = each.partition("::")
        assert (ROOT / file).is_file(), each
        assert test in collected(ROOT / file), each


def test_no_table_has_a_row_without_a_number() -> None:
    rows = [line for line in TABLES.splitlines() if line.startswith("|") and not re.match(r"\| \| |\|---", line)]
    assert len(rows) == len(PROVEN)
