"""`docs/reliability-coverage.md` says which test tries each fault and each bad input: every number is there once, and whatever the page names exists and runs where it says."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "reliability-coverage.md").read_text()
ROWS = {row[0]: row[1:] for row in re.findall(r"^\| ([FB]\d+) \| (.+?) \| (.+?) \| (.+?) \|$", PAGE, re.MULTILINE)}
ALL = [*(f"F{number}" for number in range(1, 31)), *(f"B{number}" for number in range(1, 41))]
NOTHING: set[str] = set()
"""Of what is not there at all; goes when it is built."""
TIERS = {"P": "", "N": "nightly", "R": "release"}
FAULTS = ROOT / "tests" / "faults"


@cache
def collected(path: Path) -> dict[str, str]:
    """The tests of a file and all that marks them, by name."""
    if not path.is_file() or not re.fullmatch(r"test_\w+\.py", path.name):
        return {}
    tree = ast.parse(path.read_text())
    of_module = "".join(ast.unparse(node.value) for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark")
    return {
        node.name: of_module + "".join(map(ast.unparse, node.decorator_list))
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test")
    }


def named(number: str) -> list[str]:
    return re.findall(r"`([^`]+)`", ROWS[number][2])


def marks(test: str) -> str:
    file, _, name = test.partition("[")[0].partition("::")
    return collected(ROOT / file)[name]


@cache
def listed(file: str, name: str) -> set[str]:
    """The faults that a file of tests/faults lists under this name."""
    values = {ast.unparse(target): node.value for node in ast.parse((FAULTS / file).read_text()).body for target in _targets(node)}
    return {_fault(each) for each in values[name].elts}


def _targets(node: ast.stmt) -> list[ast.expr]:
    if isinstance(node, ast.AnnAssign):
        return [node.target]
    return node.targets if isinstance(node, ast.Assign) else []


def _fault(listed_as: ast.expr) -> str:
    """`faults.rest` and `rest` are rest, `stall_role("web")` and `STALL_WEB` are stall_web."""
    words = ast.unparse(listed_as).removeprefix("faults.").lower()
    return re.sub(r"_role\('(\w+)'\)", r"_\1", words)


def test_every_fault_and_every_input_stands_there_once() -> None:
    assert re.findall(r"^\| ([FB]\d+) ", PAGE, re.MULTILINE) == ALL
    assert list(ROWS) == ALL


@pytest.mark.parametrize("number", ALL)
def test_what_a_row_names_exists(number: str) -> None:
    tests = named(number)
    assert bool(tests) == (number not in NOTHING)
    assert tests or "not there yet" in ROWS[number][1]
    for test in tests:
        file, _, name = test.partition("[")[0].partition("::")
        assert name in collected(ROOT / file), test
        if "marked(fault)" in marks(test):
            assert case_of(test) in listed("faults.py", "NIGHTLY"), "which fault?"


def case_of(test: str) -> str:
    return test.partition("[")[2].rstrip("]")


def runs_in(test: str, tier: str) -> bool:
    """Whether the marks of the test put it there; of one that has a case for each fault, some are for every change and some for the night, and one with slack or lengths has a case for either."""
    if "marked(fault)" in marks(test):
        return tier == ("N" if case_of(test) in listed("test_faults.py", "NIGHTLY_ONLY") else "P")
    if re.search("SLACK|LENGTHS", marks(test)):
        return tier in "PN"
    mark = next((mark for mark in ("nightly", "release") if mark in marks(test)), "")
    return mark == TIERS[tier]


@pytest.mark.parametrize("number", [number for number in ALL if number.startswith("F")])
def test_a_fault_runs_where_its_row_says(number: str) -> None:
    for tier in ROWS[number][1].split(", "):
        assert any(runs_in(test, tier) for test in named(number)), tier


def test_the_page_is_found() -> None:
    assert "(reliability-coverage.md)" in (ROOT / "docs" / "reliability.md").read_text()
