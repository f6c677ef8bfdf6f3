"""From rows and columns to pixels and curves."""

from __future__ import annotations

from math import ceil

from webapp.graph.labels import letters
from webapp.graph.measures import COLUMN_GAP, GRID_GAP, GUTTER, LETTER_WIDTH, MARGIN, MIN_WIDTH, NODE_HEIGHT, PADDING
from webapp.graph.net import Net
from webapp.graph.rows import Spot


class Canvas:
    """The spots in pixels: columns as wide as their longest label, and more room between them where edges are steep."""

    def __init__(self, net: Net, spots: dict[int, Spot], labels: list[str]) -> None:
        self.labels = labels
        self._net = net
        self.spots = spots
        self._box_widths = _box_widths(net, labels)
        self._left, self._right = self._columns()
        self.width = (self._right[-1] if self._right else 0) + MARGIN
        self.height = max((spot.y for spot in spots.values()), default=0) + NODE_HEIGHT // 2 + MARGIN

    def box(self, step: int) -> tuple[int, int, int]:
        """Left, top and width of a step's box."""
        layer, spot = self._net.layer[step], self.spots[step]
        width = self._box_widths[layer]
        return self._left[layer] + spot.place * (width + GRID_GAP), spot.y - NODE_HEIGHT // 2, width

    def path(self, parent: int, child: int) -> str:
        points = self._leave(parent)
        for bend in self._net.ways[parent, child]:
            layer, y = self._net.layer[bend], self.spots[bend].y
            points += [(self._left[layer], y), (self._right[layer], y)]
        return _drawn(points + self._enter(child))

    def _leave(self, step: int) -> list[tuple[int, int]]:
        """From the right side to the end of the column; past other boxes of the row in the gutter under it."""
        (x, _, width), spot, end = self.box(step), self.spots[step], self._right[self._net.layer[step]]
        if spot.is_last:
            return [(x + width, spot.y), (end, spot.y)]
        gutter = spot.y + GUTTER
        return [(x + width, spot.y), (x + width + GRID_GAP, gutter), (end, gutter)]

    def _enter(self, step: int) -> list[tuple[int, int]]:
        """From the start of the column to the left side; past other boxes of the row in the gutter over it."""
        (x, _, _), spot = self.box(step), self.spots[step]
        if not spot.place:
            return [(x, spot.y)]
        gutter = spot.y - GUTTER
        return [(self._left[self._net.layer[step]], gutter), (x - GRID_GAP, gutter), (x, spot.y)]

    def _columns(self) -> tuple[list[int], list[int]]:
        left, right, x = [], [], MARGIN
        gaps = self._gaps()
        for layer, count in enumerate(self._counts()):
            left.append(x)
            right.append(x + count * (self._box_widths[layer] + GRID_GAP) - GRID_GAP)
            x = right[-1] + gaps[layer]
        return left, right

    def _counts(self) -> list[int]:
        counts = [1] * len(self._box_widths)
        for vertex, spot in self.spots.items():
            layer = self._net.layer[vertex]
            counts[layer] = max(counts[layer], spot.place + 1)
        return counts

    def _gaps(self) -> list[int]:
        """The room after each layer, a quarter of the height of the steepest edge within limits."""
        steepest = [0] * len(self._box_widths)
        for vertex, spot in self.spots.items():
            layer, ends = self._net.layer[vertex], self._net.downs[vertex]
            steepest[layer] = max([abs(spot.y - self.spots[end].y) for end in ends] + [steepest[layer]])
        return [min(max(height // 4, COLUMN_GAP[0]), COLUMN_GAP[1]) for height in steepest]


def _box_widths(net: Net, labels: list[str]) -> list[int]:
    widths = [MIN_WIDTH] * (max(net.layer, default=-1) + 1)
    for step, label in enumerate(labels):
        widths[net.layer[step]] = max(widths[net.layer[step]], ceil(letters(label) * LETTER_WIDTH) + PADDING)
    return widths


def _drawn(points: list[tuple[int, int]]) -> str:
    """A pen's way through the points: level where the height stays, an S curve where it changes."""
    x, y = points[0]
    way = [f"M{x} {y}"]
    for to_x, to_y in points[1:]:
        if (to_x, to_y) == (x, y):
            continue
        if to_y == y and way[-1][0] == "H":
            way.pop()
        middle = (x + to_x) // 2
        way.append(f"H{to_x}" if to_y == y else f"C{middle} {y} {middle} {to_y} {to_x} {to_y}")
        x, y = to_x, to_y
    return "".join(way)
