"""From the raw runs to what is shown: rates and latencies of each peer, as median, least and most over the rounds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Run = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Spread:
    """Over the rounds; `median` is what is compared."""

    median: float
    least: float
    most: float


RATES = {"W1": "W1 chain of 5", "W2": "W2 diamond 1-4-1", "W3": "W3 fan and join", "W5": "W5 backlog of single steps"}


def rate(run: Run) -> float | None:
    """Steps per second, None where a run has no rate."""
    return run["steps"] / run["seconds"] if run.get("steps") and run.get("seconds") else None


def submit_rate(run: Run) -> float | None:
    """Tasks of one step put on record per second, from the backlog's run."""
    return run["tasks"] / run["submit_seconds"] if run.get("submit_seconds") else None


def hop(run: Run) -> float | None:
    """Milliseconds from one step's start to the next one's, the median of the run."""
    return statistics.median(run["hops_ms"]) if run.get("hops_ms") else None


def first_start(run: Run) -> float | None:
    """Milliseconds from the call of submit to the first step's start, the median of the run."""
    return statistics.median(run["submits_ms"]) if run.get("submits_ms") else None


def spread(values: Iterable[float | None]) -> Spread | None:
    """None when there is no value at all."""
    there = [value for value in values if value is not None]
    return Spread(statistics.median(there), min(there), max(there)) if there else None


def of(runs: list[Run], peer: str, workload: str) -> list[Run]:
    """The peer's runs of a workload, those that failed among them."""
    return [run for run in runs if run["peer"] == peer and run["workload"] == workload]


def number(value: float) -> str:
    """Three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
