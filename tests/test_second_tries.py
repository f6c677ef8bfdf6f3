"""What `make test` tries again: a failure that may come from a busy machine. One that says that a promise was broken stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFTEST = """
import pytest
pytest_plugins = ["final_failures"]

@pytest.fixture
def fails_once(request, pytestconfig):
    \"\"\"Whether this is the first try.\"\"\"
    tried = pytestconfig.rootpath / f"{request.node.name}.tried"
    was, _ = tried.exists(), tried.touch()
    return not was
"""
TIMING = """
def test_timing(fails_once):
    assert not fails_once, "waited 60 s"
"""
VIOLATION = """
from invariants import Violated

def test_promise(fails_once):
    if fails_once:
        raise Violated("lost")
"""
BEHIND = """
from invariants import Violated

def test_promise_behind(fails_once):
    if fails_once:
        try:
            raise Violated("lost")
        finally:
            assert not fails_once, "and could not tidy up"
"""
MARKED = """
import pytest

@pytest.mark.final
def test_crash_point(fails_once):
    assert not fails_once, "waited 60 s"
"""


def make_test(folder: Path, *files: str) -> subprocess.CompletedProcess[str]:
    """`.ci/tests.py` with a suite that consists of these."""
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n  final: of its kind\n")
    (folder / "conftest.py").write_text(CONFTEST)
    for number, text in enumerate(files):
        (folder / f"test_{number}.py").write_text(text)
    known = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS")}
    plain = {"TASKER_CHROMIUM": "/bin/true", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT / 'tests' / 'sql'}"}
    command = [sys.executable, str(ROOT / ".ci" / "tests.py"), "-p", "xdist", "-n", "1", "-q"]
    return subprocess.run(command, cwd=folder, env=known | plain, capture_output=True, text=True, timeout=110, check=False)


def test_what_failed_once_passes_alone(tmp_path: Path) -> None:
    answer = make_test(tmp_path, TIMING)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "1 tests needed a second try, alone: test_0.py::test_timing" in answer.stdout


def test_a_broken_promise_is_not_tried_again(tmp_path: Path) -> None:
    """By the kind of what was raised, also where tidying up failed after it, or by the marker."""
    answer = make_test(tmp_path, VIOLATION, BEHIND, MARKED, TIMING)
    assert answer.returncode == 1, answer.stdout + answer.stderr
    told = re.search(r"not tried again:\n((?:  .+\n)+)", answer.stdout)
    assert told is not None, answer.stdout
    assert told[1].split() == ["test_0.py::test_promise", "test_1.py::test_promise_behind", "test_2.py::test_crash_point"]
    assert "second try" not in answer.stdout
