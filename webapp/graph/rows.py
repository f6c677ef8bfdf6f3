"""How high every row stands, and so every step and bend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from webapp.graph.grid import Grid
from webapp.graph.measures import MARGIN, NODE_HEIGHT, PART_GAP, SMALL, Layers
from webapp.graph.net import Net
from webapp.graph.order import layers_of, parts, turns, untangled
from webapp.graph.straight import straighten


class Spot(NamedTuple):
    """Where a vertex is: the middle of its row in pixels, and its place in that row."""

    y: int
    place: int
    is_last: bool


def spots(net: Net) -> dict[int, Spot]:
    """Place every vertex; connected parts stand under each other."""
    spots: dict[int, Spot] = {}
    top = MARGIN + NODE_HEIGHT // 2
    for part in parts(net):
        grid = Grid(net, untangled(net, layers_of(net, part)))
        _place_rows(grid)
        spots.update(_spots_of(grid, top - min(grid.y)))
        top += round(max(grid.y) - min(grid.y)) + NODE_HEIGHT + PART_GAP
    return spots


def _spots_of(grid: Grid, offset: float) -> Iterator[tuple[int, Spot]]:
    for row, y in zip(grid.rows, grid.y, strict=True):
        for place, vertex in enumerate(row):
            yield vertex, Spot(round(y + offset), place, vertex == row[-1])


def _place_rows(grid: Grid) -> None:
    """Set the middle of every row: in order, apart, near its neighbours, and chains on one line."""
    for layer in grid.layers:
        _settle(grid, layer, [(0.0, 1.0)] * len(layer))
    for _ in range(turns(len(grid.rows), most=6, least=1)):
        _pull_rows(grid, grid.layers, [grid.ups])
        _pull_rows(grid, grid.layers[::-1], [grid.downs])
    _pull_rows(grid, grid.layers, [grid.ups, grid.downs])
    straighten(grid)
    if len(grid.rows) <= SMALL:
        straighten(grid)  # what the first pass moved close together becomes straight too


def _pull_rows(grid: Grid, layers: Layers, sides: list[list[list[tuple[int, int]]]]) -> None:
    for layer in layers:
        _settle(grid, layer, [_wanted(grid.y, row, sides) for row in layer])


def _wanted(y: list[float], row: int, sides: list[list[list[tuple[int, int]]]]) -> tuple[float, float]:
    """The mean of the neighbours' places and how much it counts; a row without neighbours would stay."""
    pulls = [pull for side in sides for pull in side[row]]
    if not pulls:
        return y[row], 0.1
    weight = sum([pull for _, pull in pulls])
    return sum([y[other] * pull for other, pull in pulls]) / weight, float(weight)


def _settle(grid: Grid, layer: list[int], wanted: list[tuple[float, float]]) -> None:
    """Put the rows of a layer as near to their wanted places as order and distance allow (least squares).

    Without the distances the wanted places must only not fall: neighbours that would are pooled at their common mean.
    """
    offsets = grid.offsets[grid.layer_of(layer[0])]
    pools: list[tuple[float, float, int]] = []
    for offset, (place, weight) in zip(offsets, wanted, strict=True):
        pool = ((place - offset) * weight, weight, 1)
        while pools and pools[-1][0] * pool[1] > pool[0] * pools[-1][1]:
            last = pools.pop()
            pool = (last[0] + pool[0], last[1] + pool[1], last[2] + pool[2])
        pools.append(pool)
    places = [total / weight for total, weight, count in pools for _ in range(count)]
    for row, offset, place in zip(layer, offsets, places, strict=True):
        grid.y[row] = place + offset
