"""The chain of steps that decides when a task ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from engine.measures.critical_path import critical_path
from engine.rows import StepRow
from webapp.critical_path import telling_path

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def step(name: str, *parents: str, begun: float | None = None, ended: float | None = None) -> StepRow:
    times = [None if at is None else NOON + timedelta(seconds=at) for at in (begun, ended)]
    return StepRow(0, 0, name, "completed", 1, 1, parents, (), 0, *times, None, "", None, None, None, False)


def test_it_is_the_chain_that_ended_last() -> None:
    steps = [
        step("a", begun=0, ended=1),
        step("quick", "a", begun=1, ended=2),
        step("slow", "a", begun=1, ended=9),
        step("end", "quick", "slow", begun=9, ended=10),
    ]
    assert critical_path(steps) == ("a", "slow", "end")


def test_a_running_step_is_later_than_all_that_has_ended_and_the_longest_running_comes_first() -> None:
    steps = [step("a", begun=0, ended=50), step("b", begun=5), step("c", begun=9)]
    assert critical_path(steps) == ("b",)


def test_before_anything_began_there_is_none() -> None:
    assert critical_path([step("a"), step("b", "a")]) == ()


def test_a_plain_chain_has_nothing_to_tell() -> None:
    assert telling_path([step("a", begun=0, ended=1), step("b", "a", begun=1, ended=2)]) == ()
