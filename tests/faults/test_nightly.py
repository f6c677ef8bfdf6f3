"""One long run with every kind of fault in an order drawn from a seed; its report is printed and kept.

FAULTS_MINUTES chooses another length than the usual one, and FAULTS_COUNT and FAULTS_TREES how much is done in it; FAULTS_SEED repeats a run;
FAULTS_REPORT names the folder for the report.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import faults
import pytest
from arena import GRACE_SECONDS, Arena
from checker import Violation, assert_none, check
from figures import figures

FULL_MINUTES = 50
MINUTES = float(os.environ.get("FAULTS_MINUTES") or FULL_MINUTES)
SHARE = MINUTES / FULL_MINUTES
SEED = int(os.environ.get("FAULTS_SEED") or time.time_ns() % 1_000_000)
COUNT = int(os.environ.get("FAULTS_COUNT") or 204 * SHARE)
TREES = int(os.environ.get("FAULTS_TREES") or 10_000 * SHARE)
FOLDER = Path(os.environ.get("FAULTS_REPORT") or Path(__file__).resolve().parents[2] / ".faults")
STEPS_OF_A_TREE = 7
LEAST_KINDS = 12
HIT_SHARE = 0.8
LEAST_FAULTS = 200
"""Of a run of full length."""
QUIET, ALONE = (faults.deafen,) * 4, (faults.restart_server, faults.kill_engine, faults.drain_engine_with_long_steps)
"""Those after which events are late for another reason come last."""
TIMES, REST_SECONDS, TREES_OF_ONE = int(os.environ.get("FAULTS_TIMES") or 5), 4.0, 150
DRAINS = int(os.environ.get("FAULTS_DRAINS") or 200)
EVERY_SECONDS = {"night": 1.0, "alone": 0.5}
"""In which ten trees are begun: the machine is to have time for what a fault costs."""
GOALS = {
    "killed_engine_to_rescue": ("p99", 2.0),
    "drain": ("max", GRACE_SECONDS + 1.0),
    "server_back_to_first_claim": ("max", 3.0),
    "event_delay_without_notify": ("p99", 0.5 + 0.25),
}
"""What may pass after a single fault, in seconds; the last is a poll of half a second and what the way takes."""


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_a_night_of_faults_loses_nothing(tmp_path: Path) -> None:
    arena = Arena(tmp_path, seed=SEED)
    print(f"seed {SEED}: {COUNT} faults, {TREES} trees of {STEPS_OF_A_TREE} steps, {MINUTES:g} minutes", flush=True)
    try:
        arena.start_engines(3)
        arena.start_web()
        over = time.monotonic() + 60 * MINUTES
        arena.run_load([guarded(fault, over) for fault in faults.schedule(arena, COUNT)], trees=TREES, at_once=120, every=EVERY_SECONDS["night"], patience=max(120.0, 1200 * SHARE))
        violations, report = judged(arena)
    finally:
        arena.end()
    keep(report)
    assert_none(violations)
    assert report["figures"]["longest_blocked_call"] <= faults.LONGEST_CALL_SECONDS
    assert report["share_that_hit_running_work"] >= HIT_SHARE
    assert report["steps_ended"] >= STEPS_OF_A_TREE * TREES
    assert report["faults"] >= (LEAST_FAULTS if COUNT >= LEAST_FAULTS else 0.9 * COUNT), "the faults took longer than the run may"
    assert report["kinds"] >= min(LEAST_KINDS, COUNT)


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_after_a_single_fault_work_goes_on_soon(tmp_path: Path) -> None:
    """In the long run one fault comes on the heels of another, so its report cannot tell what either costs."""
    arena = Arena(tmp_path, seed=SEED)
    try:
        arena.start_engines(3)
        arena.run_load([alone(fault) for fault in QUIET + ALONE * TIMES], trees=TREES_OF_ONE * (len(QUIET) + TIMES * len(ALONE)), at_once=120, every=EVERY_SECONDS["alone"], patience=300)
        violations, report = judged(arena)
    finally:
        arena.end()
    keep(report, "alone")
    assert_none(violations)
    for name, (which, most) in GOALS.items():
        taken = report["figures"][name]
        assert taken is not None, f"{name} was never taken"
        assert taken[which] <= most, f"{name}: {taken}"


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_of_two_hundred_drains_none_leaves_a_step_behind_or_takes_longer_than_its_grace_time(tmp_path: Path) -> None:
    arena = Arena(tmp_path, seed=SEED)
    try:
        arena.start_engines(3)
        arena.run_load([faults.drain_engine] * DRAINS, trees=TREES_OF_ONE, at_once=120, every=EVERY_SECONDS["alone"], pause=0.0, patience=300)
        violations, report = judged(arena)
    finally:
        arena.end()
    keep(report, "drains")
    assert_none(violations)
    drain = report["figures"]["drain"]
    assert (drain["of"], drain["max"] <= GRACE_SECONDS + 1.0) == (DRAINS, True), drain
    assert report["share_that_hit_running_work"] >= HIT_SHARE


def judged(arena: Arena) -> tuple[list[Violation], dict[str, Any]]:
    """What the checker finds, and the report."""
    evidence = arena.evidence(arena.waits_of_idle_engines(), arena.heard())
    violations = check(evidence)
    return violations, arena.report(violations) | {"figures": figures(arena, evidence)}


def alone(fault: faults.Fault) -> faults.Fault:
    """The fault, with three engines to meet it, and time to get over it before the next."""

    def met(arena: Arena) -> None:
        arena.start_engines(3)
        fault(arena)
        time.sleep(REST_SECONDS)

    return met


def guarded(fault: faults.Fault, over: float) -> faults.Fault:
    """The fault, with three engines to meet it, unless the time for faults is over."""

    def met(arena: Arena) -> None:
        if time.monotonic() > over:
            return
        arena.start_engines(3)
        fault(arena)

    return met


def keep(report: dict[str, Any], name: str = "night") -> None:
    """The report as JSON and as text."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}-{report['seed']}.json").write_text(json.dumps(report, indent=1) + "\n")
    kinds: dict[str, int] = {}
    for fault in report["schedule"]:
        kinds[fault["kind"]] = kinds.get(fault["kind"], 0) + 1
    lines = [f"{name}: {value}" for name, value in report.items() if not isinstance(value, (list, dict))]
    lines += [f"{name}, seconds: {value}" for name, value in report["figures"].items()]
    lines += [f"{count:4d} x {kind}" for kind, count in sorted(kinds.items())] + [f"VIOLATION {text}" for text in report["violations"]]
    text = "\n".join(lines)
    (FOLDER / f"{name}-{report['seed']}.txt").write_text(text + "\n")
    print(text)
