"""The layers cut into rows, which are what is moved up and down."""

from __future__ import annotations

from itertools import accumulate, pairwise
from math import ceil, sqrt

from webapp.graph.measures import FAN_ROWS, GRID_GAP, LINE_GAP, MIXED_ROWS, NODE_HEIGHT, ROW_GAP, Layers
from webapp.graph.net import Net


class Grid:
    """The layers cut into rows: one box or one bend each, or several boxes beside each other where a layer is too long."""

    def __init__(self, net: Net, layers: Layers) -> None:
        self.net = net
        self.columns = [_column_count(net, layer) for layer in layers]
        self.rows: list[tuple[int, ...]] = []
        self.layers = [self._cut(layer, size) for layer, size in zip(layers, self.columns, strict=True)]
        self.row_of = {vertex: number for number, row in enumerate(self.rows) for vertex in row}
        self.ups = self._joined(net.ups)
        self.downs = self._joined(net.downs)
        self.offsets = [self._offsets(layer) for layer in self.layers]
        self.y = [0.0] * len(self.rows)

    def is_line(self, row: int) -> bool:
        return self.net.is_bend(self.rows[row][0])

    def layer_of(self, row: int) -> int:
        return self.net.layer[self.rows[row][0]]

    def distance(self, upper: int, lower: int) -> float:
        """How far apart the middles of two neighbouring rows are at least."""
        lines = self.is_line(upper) + self.is_line(lower)
        gap = LINE_GAP if lines else ROW_GAP if self.columns[self.layer_of(upper)] == 1 else GRID_GAP
        return gap + NODE_HEIGHT * (2 - lines) / 2

    def _offsets(self, layer: list[int]) -> list[float]:
        return list(accumulate((self.distance(*pair) for pair in pairwise(layer)), initial=0.0))

    def _cut(self, layer: list[int], size: int) -> list[int]:
        first = len(self.rows)
        row: list[int] = []
        for vertex in layer:
            if row and (len(row) == size or self.net.is_bend(vertex) or self.net.is_bend(row[0])):
                self.rows.append(tuple(row))
                row = []
            row.append(vertex)
        self.rows.append(tuple(row))
        return list(range(first, len(self.rows)))

    def _joined(self, neighbours: Layers) -> list[list[tuple[int, int]]]:
        """For every row its neighbours with their pull: long edges pull most, so that they become straight."""
        return [[(self.row_of[o], self._pull(v, o)) for v in row for o in neighbours[v]] for row in self.rows]

    def _pull(self, vertex: int, other: int) -> int:
        return (1, 2, 8)[self.net.is_bend(vertex) + self.net.is_bend(other)]


def _column_count(net: Net, layer: list[int]) -> int:
    """1 for most layers. A long layer is drawn as a grid about as wide as it is high, a plain fan sooner than others."""
    steps = [vertex for vertex in layer if not net.is_bend(vertex)]
    limit = FAN_ROWS if _is_fan(net, steps) else MIXED_ROWS
    return ceil(len(steps) / max(limit, ceil(sqrt(2.5 * len(steps)))))


def _is_fan(net: Net, steps: list[int]) -> bool:
    return len({(tuple(net.ups[step]), tuple(net.downs[step])) for step in steps}) <= 1
