"""Sizes and limits of a picture, in pixels unless they say otherwise, and the two shapes in which the other modules hand steps on."""

from __future__ import annotations

NODE_HEIGHT = 44
COLLAPSE_ABOVE = 300
MARGIN = 16
ROW_GAP = 16
PART_GAP = 28
LINE_GAP = 12
LETTER_WIDTH = 7.4
PADDING = 40
MIN_WIDTH = 112
LABEL_LENGTH = 26
LABEL_TAIL = 8
COLUMN_GAP = (56, 168)
GRID_GAP = 28
GUTTER = NODE_HEIGHT // 2 + 10
FAN_ROWS = 16
MIXED_ROWS = 48
SMALL = 400
EFFORT = 8000
ALIKE = 4
ROUNDS = 200
MOST_BENDS = 50_000
MOST_PASSES = 500_000

Parents = tuple[tuple[int, ...], ...]
Layers = list[list[int]]
