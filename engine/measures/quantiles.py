"""Percentiles of durations that are known by their bins alone. `tasker_bin_limits` has the same limits; decided without a database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LIMITS = tuple(figure * 10.0**power / 100_000 for power in range(9) for figure in (100, 125, 160, 200, 250, 315, 400, 500, 630, 800)) + (1_000_000.0,)
"""Seconds. Bin n holds what is at least the limit n - 1 and less than the limit n; the first begins at 0, the last has no end."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How durations are spread, in seconds. Mean and longest are exact; percentiles come from bins, each of which ends 25 to 28 % above its beginning.

    None where nothing was timed.
    """

    count: int
    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    longest: float | None


NOTHING = Spread(0, None, None, None, None, None)


def spread(bins: Mapping[int, int], count: int, total: float, longest: float) -> Spread:
    """The spread of `count` durations that are `total` seconds together."""
    if not count:
        return NOTHING
    p50, p95, p99 = (quantile(bins, share, longest) for share in (0.5, 0.95, 0.99))
    return Spread(count, total / count, p50, p95, p99, longest)


def quantile(bins: Mapping[int, int], share: float, longest: float) -> float | None:
    """The duration that `share` of those in the bins do not exceed, taken as spread evenly, on a scale of ratios, over its bin."""
    total = sum(bins.values())
    place = max(share * total, 1)
    before = 0
    for number in sorted(bins):
        if before + bins[number] >= place:
            return min(_within(number, (place - before - 0.5) / bins[number]), longest)
        before += bins[number]
    return None


def _within(number: int, share: float) -> float:
    share = min(max(share, 0), 1)
    if number == 1:
        return LIMITS[0] * share
    if number > len(LIMITS):
        return LIMITS[-1]
    low, high = LIMITS[number - 2], LIMITS[number - 1]
    return float(low * (high / low) ** share)
