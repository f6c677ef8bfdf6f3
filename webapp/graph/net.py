"""Layers and bends: every step in the layer of the longest chain before it, and what edges pass on their way."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from webapp.graph.measures import Layers, Parents


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
        self._bends: dict[tuple[bool, int, int], int] = {}
        self._segments: set[tuple[int, int]] = set()
        self._add_edges([(p, c) for c, known in enumerate(parents) for p in known])

    def is_bend(self, vertex: int) -> bool:
        return vertex >= self.step_count

    def _add_edges(self, edges: list[tuple[int, int]]) -> None:
        layer = self.layer
        long = [(p, c) for p, c in edges if layer[c] - layer[p] > 1]
        leaving, entering = Counter(p for p, _ in long), Counter(c for _, c in long)
        for p, c in edges:
            self.ways[p, c] = self._way(p, c, shared_by_child=entering[c] > leaving[p])
            for above, below in pairwise((p, *self.ways[p, c], c)):
                self._add_segment(above, below)

    def _way(self, parent: int, child: int, *, shared_by_child: bool) -> tuple[int, ...]:
        owner = child if shared_by_child else parent
        between = range(self.layer[parent] + 1, self.layer[child])
        return tuple(self._bend(shared_by_child, owner, layer) for layer in between)

    def _bend(self, shared_by_child: bool, owner: int, layer: int) -> int:
        key = (shared_by_child, owner, layer)
        if key not in self._bends:
            self._bends[key] = len(self.layer)
            self.layer.append(layer)
            self.ups.append([])
            self.downs.append([])
        return self._bends[key]

    def _add_segment(self, above: int, below: int) -> None:
        if (above, below) in self._segments:
            return
        self._segments.add((above, below))
        self.downs[above].append(below)
        self.ups[below].append(above)
