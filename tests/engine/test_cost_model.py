"""What a load costs is reckoned from few figures: fitted to two loads it tells the others."""

from __future__ import annotations

import pytest

from engine.bench.model import Load, fitted

LONELY = {"database_ms": 1.76, "round_trips": 1.20, "wal_bytes": 1_900.0}
FLOOD = {"database_ms": 0.103, "round_trips": 1 / 300, "wal_bytes": 1_546.0}
"""Rows of docs/scaling.md, as are those that it is held to below."""


def demo(times: float) -> Load:
    return Load(28.0 * times, length=5, together_seconds=0.1)


def test_round_trips_are_shared_by_what_is_begun_together_and_carry_a_batch_at_most() -> None:
    assert Load(0.5, length=5, together_seconds=0.1).round_trips == demo(1).round_trips == pytest.approx(6 / 5)
    assert Load(0.5, length=1, together_seconds=0.1).round_trips == pytest.approx(2)
    assert demo(10).round_trips == pytest.approx(0.21, rel=0.05)
    assert demo(100_000).round_trips == Load(None, length=5, together_seconds=0.1).round_trips == 1 / 300


def test_two_loads_tell_what_the_loads_between_them_cost() -> None:
    costs = fitted(LONELY, FLOOD, rest=0.019)
    assert costs.database_ms(demo(1)) == pytest.approx(1.76)
    assert costs.database_ms(demo(10)) == pytest.approx(0.46, rel=0.25)
    assert costs.database_ms(demo(100)) == pytest.approx(0.17, rel=0.25)
    assert costs.wal_bytes == pytest.approx(1_508, rel=0.05)
    assert costs.cores(demo(0)) == 0.019
    assert costs.cores(Load(223.0, length=5, together_seconds=0.1)) == pytest.approx(0.121, rel=0.2)


def test_one_database_carries_what_its_processor_has_time_for() -> None:
    costs = fitted(LONELY, FLOOD, rest=0.019)
    assert costs.carried(5) == pytest.approx(9_547, rel=0.05)
    assert costs.carried(5, cores=4) == pytest.approx(4 * costs.carried(5), rel=0.05)
