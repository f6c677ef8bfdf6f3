"""The end of a run says how long the faults of every change took together, or those of a night, and nothing of others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SLOW = """
import time

import pytest

def test_slow():
    time.sleep({seconds})

@pytest.mark.nightly
def test_of_the_night():
    pass
"""


def said_of(folder: Path, *arguments: str) -> list[str]:
    """The lines that a run of this folder's tests ends with, of the faults."""
    known = {name: value for name, value in os.environ.items() if name not in ("PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS")}
    plain = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT / "tests")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "fault_minutes", *arguments]
    answer = subprocess.run(command, cwd=folder, env=known | plain, capture_output=True, text=True, timeout=110, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return [line for line in answer.stdout.splitlines() if line.startswith("tests/faults/ took")]


def test_the_faults_of_every_change_and_of_a_night_are_summed_up_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  nightly: of its kind\n  release: of its kind\n")
    for place, seconds in (("tests/faults", 0.6), ("tests/other", 1.0)):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / f"test_in_{Path(place).name}.py").write_text(SLOW.format(seconds=seconds))
    [line] = said_of(tmp_path, "-m", "not nightly and not release")
    assert line == "tests/faults/ took 1 s of the 480 that they may take together with every change"
    assert said_of(tmp_path, "-m", "nightly") == ["tests/faults/ took 0 s of the 3600 that they may take together at night"]
    assert said_of(tmp_path, "-m", "not nightly") == []
