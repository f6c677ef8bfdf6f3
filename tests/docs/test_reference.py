"""The reference that is made from the code leaves nothing out. `make docs` builds the site itself, with warnings as errors."""

from __future__ import annotations

import re

import pytest
from blocks import ROOT

from engine.definition import MAX_EDGES, MAX_STEPS
from engine.settings import VARIABLES

OWN = {"TASKER_ENGINE_NAME", "TASKER_EXAMPLES_URL", "TASKER_FAULTS", "TASKER_PARENT", "TASKER_REPLACES", "TASKER_SIGN_IN_LINK", "TASKER_STARTED_FD"}
"""By which processes of this project tell each other something; nobody sets them by hand."""


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_extension"))
    import written

    return written


def test_every_variable_that_is_read_is_explained() -> None:
    sources = [file.read_text() for folder in ("engine", "webapp") for file in (ROOT / folder).rglob("*.py")]
    read = {name for text in sources for name in re.findall(r'"(TASKER_[A-Z_]*[A-Z])"', text)}
    assert read - OWN <= set(VARIABLES), "explain it in engine.settings.VARIABLES"


def test_every_variable_of_the_readme_is_explained() -> None:
    named = re.findall(r"^\| `(TASKER_[A-Z_]+)`", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert set(named) <= set(VARIABLES)


def test_the_limits_of_a_definition_are_told() -> None:
    assert f"at most {MAX_STEPS:,} steps and {MAX_EDGES:,} dependencies" in (ROOT / "docs" / "developer-guide.md").read_text()


def test_every_function_is_listed_with_what_its_header_says(written: object) -> None:
    text = written.sql_functions()  # type: ignore[attr-defined]
    listed = re.findall(r"^### `(\w+)`\n\n(\S.*)$", text, re.MULTILINE)
    assert sorted(name for name, _ in listed) == sorted(file.stem for file in (ROOT / "sql" / "functions").glob("*.sql"))
    assert all(len(purpose) > 10 for _, purpose in listed), listed
