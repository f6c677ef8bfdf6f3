"""Straight lines: rows that follow each other stand at one height."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise

from webapp.graph.grid import Grid
from webapp.graph.measures import LINE_GAP, Layers


def straighten(grid: Grid) -> None:
    """Put the rows that follow each other on one line at one height, and keep all distances.

    Lines do not cross, so "above" is an order. Lines pushed down from above and lines pushed up from below both keep the
    distances, therefore their middle does too.
    """
    line_of, lines = _lines(grid)
    wanted = [sum([grid.y[row] for row in line]) / len(line) for line in lines]
    below = _below(grid, line_of, len(lines))
    order = _sorted_lines(below)
    down, up = _pushed_down(wanted, below, order), _pushed_up(wanted, below, order)
    for row, line in enumerate(line_of):
        grid.y[row] = (down[line] + up[line]) / 2


def _lines(grid: Grid) -> tuple[list[int], Layers]:
    line_of = list(range(len(grid.rows)))
    for upper, lower in sorted(_aligned(grid), key=lambda pair: pair[1]):
        line_of[lower] = line_of[upper]
    lines: dict[int, list[int]] = defaultdict(list)
    for row, line in enumerate(line_of):
        lines[line].append(row)
    number = {line: at for at, line in enumerate(lines)}
    return [number[line] for line in line_of], list(lines.values())


def _aligned(grid: Grid) -> Iterator[tuple[int, int]]:
    """Pairs of rows to be drawn at one height: no two cross, no row has two on one side; long edges come first."""
    for layer in grid.layers[:-1]:
        pairs = ((row, other) for row in layer for other, _ in grid.downs[row])
        ranked = sorted((_rank(grid, a, b), a, b) for a, b in set(pairs))
        yield from _without_crossings((a, b) for (kind, _), a, b in ranked if kind < 3)


def _rank(grid: Grid, row: int, other: int) -> tuple[int, float]:
    slope = abs(grid.y[row] - grid.y[other])
    if grid.is_line(row) and grid.is_line(other):
        return 0, slope
    if len(grid.downs[row]) == 1 and len(grid.ups[other]) == 1:
        return 1, slope
    return (2 if slope < LINE_GAP else 3), slope


def _without_crossings(pairs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    kept: list[tuple[int, int]] = []
    for pair in pairs:
        at = bisect_left(kept, pair)
        before, after = kept[at - 1 : at] if at else [], kept[at : at + 1]
        if all(a < pair[0] and b < pair[1] for a, b in before) and all(a > pair[0] and b > pair[1] for a, b in after):
            kept.insert(at, pair)
    return kept


def _below(grid: Grid, line_of: list[int], count: int) -> list[list[tuple[int, float]]]:
    below: list[list[tuple[int, float]]] = [[] for _ in range(count)]
    for layer in grid.layers:
        for upper, lower in pairwise(layer):
            below[line_of[upper]].append((line_of[lower], grid.distance(upper, lower)))
    return below


def _sorted_lines(below: list[list[tuple[int, float]]]) -> list[int]:
    """The lines from top to bottom, each after all that are above it."""
    waiting = Counter(line for lines in below for line, _ in lines)
    order = [line for line in range(len(below)) if not waiting[line]]
    for line in order:
        for other, _ in below[line]:
            waiting[other] -= 1
            if not waiting[other]:
                order.append(other)
    return order


def _pushed_down(wanted: list[float], below: list[list[tuple[int, float]]], order: list[int]) -> list[float]:
    places = list(wanted)
    for line in order:
        for other, distance in below[line]:
            places[other] = max(places[other], places[line] + distance)
    return places


def _pushed_up(wanted: list[float], below: list[list[tuple[int, float]]], order: list[int]) -> list[float]:
    places = list(wanted)
    for line in reversed(order):
        for other, distance in below[line]:
            places[line] = min(places[line], places[other] - distance)
    return places
