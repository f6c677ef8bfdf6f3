"""Layers and bends: every step in the layer of the longest chain before it, and what edges pass on their way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from engine.errors import TaskerError
from webapp.graph.measures import MOST_BENDS, MOST_PASSES, Layers, Parents


def depths(parents: Parents) -> list[int]:
    depths: list[int] = []
    for known in parents:
        depths.append(max((depths[parent] for parent in known), default=-1) + 1)
    return depths


def children_of(parents: Parents) -> Layers:
    children: Layers = [[] for _ in parents]
    for child, known in enumerate(parents):
        for parent in known:
            children[parent].append(child)
    return children


class TooTangled(TaskerError):
    """The edges pass so many layers that a picture of them would take minutes, and show nothing."""


def require_drawable(parents: Parents) -> None:
    """The picture has at most `MOST_BENDS` bends and its edges pass at most `MOST_PASSES` of them. Raises `TooTangled`, before any bend is made."""
    layer = depths(parents)
    longest: Counter[Trunk] = Counter()
    passes = 0
    for (parent, child), trunk in trunks(parents, layer).items():
        passed = layer[child] - layer[parent] - 1
        passes += passed
        longest[trunk] = max(longest[trunk], passed)
    if passes > MOST_PASSES or longest.total() > MOST_BENDS:
        raise TooTangled(f"{len(parents):,} steps whose dependencies pass so many others are too many to draw")


Trunk = tuple[bool, int]
"""The long edges that enter a step, or with False those that leave it."""


def trunks(parents: Parents, layer: Sequence[int]) -> dict[tuple[int, int], Trunk]:
    """For each long edge the one whose bends it shares: that of its end with the most long edges."""
    long = [(p, c) for c, known in enumerate(parents) for p in known if layer[c] - layer[p] > 1]
    leaving, entering = Counter(p for p, _ in long), Counter(c for _, c in long)
    return {(p, c): (True, c) if entering[c] > leaving[p] else (False, p) for p, c in long}


class Net:
    """The steps, and a bend wherever an edge passes a layer, so that all neighbours are one layer apart.

    Long edges that leave one step, or that enter one, share their bends: they are drawn as one trunk with branches.
    """

    def __init__(self, parents: Parents) -> None:
        self.step_count = len(parents)
        self.layer = depths(parents)
        self.ups: Layers = [[] for _ in parents]
        self.downs: Layers = [[] for _ in parents]
        self.ways: dict[tuple[int, int], tuple[int, ...]] = {}
        self._bends: dict[tuple[Trunk, int], int] = {}
        self._segments: set[tuple[int, int]] = set()
        self._add_edges([(p, c) for c, known in enumerate(parents) for p in known], trunks(parents, self.layer))

    def is_bend(self, vertex: int) -> bool:
        return vertex >= self.step_count

    def _add_edges(self, edges: list[tuple[int, int]], shared: Mapping[tuple[int, int], Trunk]) -> None:
        for p, c in edges:
            trunk = shared.get((p, c))
            self.ways[p, c] = () if trunk is None else self._way(p, c, trunk)
            for above, below in pairwise((p, *self.ways[p, c], c)):
                self._add_segment(above, below)

    def _way(self, parent: int, child: int, trunk: Trunk) -> tuple[int, ...]:
        return tuple(self._bend(trunk, layer) for layer in range(self.layer[parent] + 1, self.layer[child]))

    def _bend(self, trunk: Trunk, layer: int) -> int:
        if (trunk, layer) not in self._bends:
            self._bends[trunk, layer] = len(self.layer)
            self.layer.append(layer)
            self.ups.append([])
            self.downs.append([])
        return self._bends[trunk, layer]

    def _add_segment(self, above: int, below: int) -> None:
        if (above, below) in self._segments:
            return
        self._segments.add((above, below))
        self.downs[above].append(below)
        self.ups[below].append(above)
