"""What the checker and the footprint say of evidence that is made up: of each broken promise, and nothing of one that was kept."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import footprint
import psycopg
import pytest
from arena import Beside, FaultRecord
from checker import (
    COMPLETED,
    FAILED,
    PENDING,
    READY,
    RETRYING,
    RUNNING,
    Evidence,
    Move,
    Records,
    StepRow,
    lost_tasks,
    steps_before_parents,
    unheard_events,
)
from footprint import Footprint
from ledger import Run
from visitors import Probe

from engine.db import connect

TASK = "task"


def evidence(*, moves: Sequence[Move] = (), runs: Sequence[Run] = (), steps: Sequence[StepRow] = (), tasks: dict[str, int] | None = None, heard: Sequence[int] | None = None) -> Evidence:
    by_place: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        by_place.setdefault((run.task, run.step), []).append(run)
    known = tasks or {}
    return Evidence(by_place, Records(known, Counter(), {(row.task, row.name): row for row in steps}, list(moves)), {key: key for key in known}, heard=heard)


def move(number: int, step: str | None, to_state: int, attempt: int = 1) -> Move:
    before = {RUNNING: READY, RETRYING: RUNNING, COMPLETED: RUNNING, FAILED: RUNNING}[to_state]
    return Move(number, TASK, step, float(number), before, to_state, attempt, 1, None)


def run(step: str, attempt: int, start: float, end: float | None) -> Run:
    return Run(TASK, step, attempt, "engine-1", 1, start, start, end)


# ---- I1


@pytest.mark.parametrize("name", ["slow", "fan", "wide", "ladder", "tree"])
def test_a_task_in_which_nothing_fails_for_good_and_that_ends_failed_is_lost(name: str) -> None:
    [found] = lost_tasks(evidence(tasks={f"{name}-1": FAILED, f"{name}-2": COMPLETED, "hopeless-3": FAILED, "poison-4": FAILED}))
    assert (found.invariant, f"{name}-1" in found.text) == ("I1", True)


# ---- I2


def test_a_step_that_ran_after_a_failed_attempt_of_its_parent_and_before_the_one_that_counts_ran_too_early() -> None:
    """On record its claim comes after the parent's completion, so that the ledger alone can tell."""
    steps = (StepRow(TASK, "parent", COMPLETED, 2, 3, ()), StepRow(TASK, "child", COMPLETED, 1, 3, ("parent",)))
    moves = [move(1, "parent", RUNNING), move(2, "parent", RETRYING), move(3, "parent", RUNNING, 2), move(4, "parent", COMPLETED, 2), move(5, "child", RUNNING)]
    parent = [run("parent", 1, 1.0, 1.5), run("parent", 2, 3.0, 3.5)]
    assert not list(steps_before_parents(evidence(moves=moves, runs=[*parent, run("child", 1, 3.6, 3.7)], steps=steps)))
    [found] = steps_before_parents(evidence(moves=moves, runs=[*parent, run("child", 1, 2.0, 2.1)], steps=steps))
    assert (found.invariant, found.text) == ("I2", "child of task ran before parent had ended well")


def test_of_an_attempt_that_was_handed_back_the_one_with_the_same_number_counts() -> None:
    steps = (StepRow(TASK, "parent", COMPLETED, 1, 3, ()), StepRow(TASK, "child", PENDING, 1, 3, ("parent",)))
    moves = [move(1, "parent", RUNNING), move(2, "parent", RUNNING), move(3, "parent", COMPLETED), move(4, "child", RUNNING)]
    parent = [run("parent", 1, 1.0, 1.4), run("parent", 1, 2.0, 2.4)]
    [found] = steps_before_parents(evidence(moves=moves, runs=[*parent, run("child", 1, 1.5, 1.6)], steps=steps))
    assert found.invariant == "I2"


# ---- I5


def test_a_subscriber_hears_of_every_end_in_order_and_of_some_again() -> None:
    ends = [move(1, "first", COMPLETED), move(2, "second", COMPLETED), move(3, None, COMPLETED)]
    assert not list(unheard_events(evidence(moves=ends, heard=[2, 4, 2, 4, 6])))
    assert not list(unheard_events(evidence(moves=ends)))
    assert [found.text for found in unheard_events(evidence(moves=ends, heard=[2, 6]))] == ["nobody was told that second of task ended"]
    assert [found.text for found in unheard_events(evidence(moves=ends, heard=[2, 6, 4]))] == ["event 4 was told of only after 6"]


# ---- I9


def test_a_page_has_a_second_beyond_its_own_limit_and_a_creation_the_time_for_a_dead_line_too() -> None:
    seconds = {path: [late for late in (5.9, 6.1, 7.9, 8.1) if Probe(path, 200, late, False, "", False).problem()] for path in ("list /tasks", "create /api/v1/tasks")}
    assert seconds == {"list /tasks": [6.1, 7.9, 8.1], "create /api/v1/tasks": [8.1]}


# ---- I10


@dataclass
class Stage:
    """As much of an arena as its footprint knows: this process is its only engine."""

    run_id: str = f"made up {os.getpid()}"
    has_web: bool = True
    engines: list[SimpleNamespace] = field(default_factory=lambda: [SimpleNamespace(label="engine-1", pid=os.getpid())])

    def living(self) -> list[SimpleNamespace]:
        return self.engines

    def proxies(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(is_open=True)]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Nothing is too much of what other tests take up beside this one."""
    for name, most in (("CONNECTIONS_PER_ENGINE", 10_000), ("RESIDENT_MEGABYTES", 1_000_000), ("REST_SECONDS", 10_000), ("END_SECONDS", 0)):
        monkeypatch.setattr(footprint, name, most)
    return Stage()


def test_more_connections_than_are_configured_are_told_when_they_last(stage: Stage, database_url: str, conn: psycopg.Connection[object], monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Footprint(stage)
    with connect(database_url, application_name="tasker engine"):
        assert (looks.look(conn), looks.look(conn), looks.at_the_end(conn)) == ([], [], [])
        monkeypatch.setattr(footprint, "CONNECTIONS_PER_ENGINE", 0)
        monkeypatch.setattr(footprint, "CONNECTIONS_OF_THE_DASHBOARD", 0)
        assert looks.look(conn) == []
        assert [found.partition(" ")[2] for found in (*looks.look(conn), *looks.at_the_end(conn))] == ["connections, 0 are configured"] * 2
        assert looks.most_connections > 0


@pytest.fixture
def left_over(stage: Stage) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env={"FAULTS_RUN": stage.run_id, "FAULTS_ENGINE": "engine-0"})
    yield
    process.communicate()


@pytest.mark.usefixtures("left_over")
def test_processes_that_outlive_their_engine_and_engines_that_grow_are_told(stage: Stage, conn: psycopg.Connection[object], monkeypatch: pytest.MonkeyPatch) -> None:
    assert Footprint(stage).at_the_end(conn) == ["processes of engine-0 outlived it"]
    stage.engines[0].label = "engine-0"
    assert Footprint(stage).at_the_end(conn) == []
    monkeypatch.setattr(footprint, "RESIDENT_MEGABYTES", 1)
    [found] = Footprint(stage).look(conn)
    assert found.startswith("engine-0 holds ")


# ---- what watches


def test_what_kills_a_thread_beside_is_raised_where_it_ends() -> None:
    with pytest.raises(ZeroDivisionError):
        Beside(lambda: 1 / 0).end()


def test_a_fault_of_the_dashboard_is_met_by_its_visitors_alone() -> None:
    runs = [run("first", 1, 1.5, 1.6)]
    assert FaultRecord("of all", "all", 1.0, 0, 2.0).hit(runs) == 1
    assert FaultRecord("of visitors", "dashboard", 1.0, 0, 2.0).hit(runs) == 0
    assert FaultRecord("of visitors", "dashboard", 1.0, 7, 2.0).hit(runs) == 7
