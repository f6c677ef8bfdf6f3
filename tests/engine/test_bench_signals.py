"""What the bench of logs, metrics and traces makes of its pairs."""

from __future__ import annotations

import pytest

from engine.bench.signals import Clocked, Pair, compared, interval


def a_pair(lost: float, more: float) -> Pair:
    return Pair(off=Clocked(1000.0, 0.2, 0.0), on=Clocked(1000.0 * (1 - lost), 0.2 * (1 + more), 0.1))


@pytest.mark.parametrize(("count", "low", "high"), [(1, 1, 1), (5, 1, 5), (6, 1, 6), (9, 2, 8), (30, 10, 21), (90, 36, 55)])
def test_the_median_lies_between_values_that_order_statistics_have_tables_for(count: int, low: int, high: int) -> None:
    assert interval([float(value) for value in range(count, 0, -1)]) == (low, high)


@pytest.mark.parametrize(("least", "verdict"), [(0.0, "kept"), (0.05, "open"), (0.101, "missed")])
def test_the_goal_is_kept_or_missed_only_when_the_whole_interval_says_so(least: float, verdict: str) -> None:
    found = compared([a_pair(least + number / 300, 0.0) for number in range(30)])
    assert (found["lost_goal"], found["more_processor_goal"]) == (verdict, "kept")
    assert found["lost_low"] < found["lost"] < found["lost_high"]
    assert compared([a_pair(least, 0.0)] * 5)["lost_goal"] == "open", "five say nothing with certainty"


def test_one_pair_in_three_that_was_disturbed_changes_little() -> None:
    found = compared([a_pair(0.04, 0.08)] * 20 + [a_pair(0.5, 0.6)] * 5 + [a_pair(-0.6, -0.4)] * 5)
    assert (found["lost"], found["more_processor"], found["off_steps_per_s"]) == (0.04, 0.08, 1000)
