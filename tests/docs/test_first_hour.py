"""The first hour can be measured by anybody: the command of the page on performance goes through a new project, its tests, the help and an engine's start."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_the_first_hour_is_measured_by_one_command() -> None:
    command = [sys.executable, "-m", "engine.cli", "bench", "--first-hour", "--quick", "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert ended.returncode == 0, ended.stderr
    figures = json.loads(ended.stdout)["figures"]
    assert set(figures) == {"green_tests_s", "workflow_test_ms", "help_ms", "first_claim_s", "import_ms"}
    assert all(found["measured"] > 0 for found in figures.values())
