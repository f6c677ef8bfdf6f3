"""`docs/security.md` says which test proves each control: whatever it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_seed_coverage import collected

ROOT = Path(__file__).resolve().parents[1]
ROWS = dict(re.findall(r"^\| (S\d+) .*?\| (.+?) \|$", (ROOT / "docs" / "security.md").read_text(), re.MULTILINE))


@pytest.mark.parametrize("control", ROWS)
def test_what_the_page_names_exists(control: str) -> None:
    proofs = re.findall(r"`([^`]+)::(\w+)`", ROWS[control])
    assert proofs
    assert [test for file, test in proofs if test not in collected(ROOT / file)] == []


def test_the_page_has_its_controls() -> None:
    assert {"S1", "S2", "S6", "S8", "S15", "S25"} <= set(ROWS)
