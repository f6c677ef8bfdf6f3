"""One long run with every kind of fault in an order drawn from a seed; its report is printed and kept.

FAULTS_SEED, FAULTS_COUNT and FAULTS_TREES choose another run than the usual one; FAULTS_REPORT names the folder for the report.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import faults
import pytest
from arena import Arena

SEED = int(os.environ.get("FAULTS_SEED") or time.time_ns() % 1_000_000)
COUNT = int(os.environ.get("FAULTS_COUNT") or 220)
TREES = int(os.environ.get("FAULTS_TREES") or 10_000)
FOLDER = Path(os.environ.get("FAULTS_REPORT") or Path(__file__).resolve().parents[2] / ".faults")
PROBE_SHARE = 0.8


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_a_night_of_faults_loses_nothing(tmp_path: Path) -> None:
    arena = Arena(tmp_path, seed=SEED)
    print(f"seed {SEED}: {COUNT} faults, {TREES} trees of 7 steps")
    try:
        arena.start_engines(3)
        arena.start_web()
        arena.run_load([guarded(fault) for fault in faults.schedule(arena, COUNT)], trees=TREES, at_once=120, patience=1200)
        violations = arena.verdict(hearing=True)
        report = arena.report(violations)
    finally:
        arena.end()
    keep(report)
    assert report["violations"] == []
    assert report["share_that_hit_running_work"] >= PROBE_SHARE


def guarded(fault: faults.Fault) -> faults.Fault:
    """The fault, with three engines to meet it."""

    def met(arena: Arena) -> None:
        arena.start_engines(3)
        fault(arena)

    return met


def keep(report: dict[str, Any]) -> None:
    """The report as JSON and as text."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"night-{report['seed']}.json").write_text(json.dumps(report, indent=1) + "\n")
    kinds: dict[str, int] = {}
    for fault in report["schedule"]:
        kinds[fault["kind"]] = kinds.get(fault["kind"], 0) + 1
    lines = [f"{name}: {value}" for name, value in report.items() if not isinstance(value, list)]
    lines += [f"{count:4d} x {kind}" for kind, count in sorted(kinds.items())] + [f"VIOLATION {text}" for text in report["violations"]]
    text = "\n".join(lines)
    (FOLDER / f"night-{report['seed']}.txt").write_text(text + "\n")
    print(text)
