"""Every code block of the README and of the pages in `docs/` is tried: Python, shell and SQL run or are read by the commands' own parsers, YAML and JSON by
the product's own readers. `blocks.py` says how a page chains its blocks, and `desk.py` what they find there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from blocks import PAGES, ROOT, blocks, inline_commands
from desk import desk
from shell import commands, told_by_click

if TYPE_CHECKING:
    from engine.testing.databases import Databases

LANGUAGES = {"python", "sh", "sql", "yaml", "json", "toml", "text", "ruby"}
NOT_RUN = 2
"""Blocks that cannot be run here: goes down, and up only for a reason that stands above the block."""
WITH_CODE = [page for page in PAGES if any(block.language in LANGUAGES - {"text"} for block in blocks(page))]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("document", WITH_CODE, ids=named)
def test_the_code_of_a_page_runs_in_its_order(document: Path, tmp_path: Path, databases: Databases) -> None:
    try_out(document, tmp_path, databases)


@pytest.mark.nightly
@pytest.mark.parametrize("document", [page for page in WITH_CODE if any(block.run is not None for block in blocks(page))], ids=named)
def test_lines_for_the_shell_run_as_processes_of_their_own(document: Path, tmp_path: Path, databases: Databases) -> None:
    try_out(document, tmp_path, databases, real=True)


def try_out(document: Path, folder: Path, databases: Databases, *, real: bool = False) -> None:
    """Every block of the page, one after the other."""
    with desk(folder, databases, real=real) as own:
        for block in blocks(document):
            try:
                own.try_out(block)
            except BaseException as error:
                error.add_note(f"in the block at {block.place}")
                raise


def test_every_block_says_in_which_language_it_is() -> None:
    unknown = [block.place for page in PAGES for block in blocks(page) if block.language not in LANGUAGES and not block.language.startswith("{")]
    assert unknown == []


def test_blocks_that_are_not_run_are_few_and_say_why() -> None:
    reasons = {block.place: block.not_run for page in PAGES for block in blocks(page) if block.not_run is not None}
    assert all(reasons.values()), reasons
    assert len(reasons) == NOT_RUN, reasons


def test_commands_within_sentences_are_commands() -> None:
    wrong = [(place, problem) for page in PAGES for place, text in inline_commands(page) if (problem := problem_of(text))]
    assert wrong == []


def problem_of(text: str) -> str | None:
    """Why no command reads so; `[OPTIONAL]` parts are taken along, and a command that goes on (`…`) is looked at as far as it is told."""
    told = re.sub(r"[\[\]]|…|\.\.\.", "", text)
    words = commands(told)[0]
    problem = told_by_click(words[1:])
    return None if problem and "Missing" in problem else problem
