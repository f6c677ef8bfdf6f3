"""The checker bites: mistakes made on purpose are found as what they are, and installations without any give no alarm."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
from arena import Arena
from bugs import BUGS, Bug, seed
from checker import check, summary

pytestmark = pytest.mark.timeout(300)

CLEAN_RUNS, EACH_COMES_SECONDS = 20, 1.0
"""Two of those make one round of the visitors to the dashboard."""


@pytest.mark.nightly
@pytest.mark.parametrize("name", BUGS)
def test_a_mistake_is_found(name: str, tmp_path: Path) -> None:
    bug = BUGS[name]
    arena = Arena(tmp_path, seed=7, bug=bug.patch)
    try:
        with arena.direct() as conn:
            seed(conn, bug.changes)
        arena.start_engines(2)
        work(arena, bug)
        violations = check(arena.evidence(arena.waits_of_idle_engines() if "I8" in bug.found_as else ()))
    finally:
        arena.end()
    found = Counter(violation.invariant for violation in violations)
    assert bug.found_as & set(found), f"{name}: {summary(violations)}"


def work(arena: Arena, bug: Bug) -> None:
    """A load that shows the mistake, and a moment for what will never end."""
    if bug.alone:
        arena.submit("ladder", 2)  # each connection has prepared its statements: a late packet is a report and no preparation
        arena.settle(60)
        for fault in bug.provoked_by:
            fault(arena)
            arena.settle(15)
        return
    if bug.load != "tree":
        arena.submit(bug.load, 8, {"seconds": 0.1})
    if bug.provoked_by:
        arena.run_load(bug.provoked_by, trees=20, patience=15)
    else:
        arena.submit("tree", 40)
        arena.settle(15)


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_clean_runs_give_no_alarm(tmp_path: Path) -> None:
    arena = Arena(tmp_path, seed=7)
    try:
        arena.start_engines(3)
        arena.start_web()
        for _ in range(CLEAN_RUNS):
            arena.submit("fan", 2)
            arena.submit("hopeless", 2)
            arena.run_load([lambda _: time.sleep(EACH_COMES_SECONDS)], trees=20)
            arena.assert_kept()
        assert set(arena.visitors.asked()) == {"live", "ready", "overview", "list", "detail", "create", "stream"}
    finally:
        arena.end()
