"""The order inside the layers, with few crossings."""

from __future__ import annotations

from bisect import bisect_right, insort
from itertools import pairwise

from webapp.graph.measures import EFFORT, SMALL, Layers
from webapp.graph.net import Net


def parts(net: Net) -> list[list[int]]:
    """The vertices of every connected part, by its first step; the steps connected to nothing are one part, the last."""
    seen = bytearray(len(net.layer))
    parts = [_walk(net, root, seen) for root in range(net.step_count) if not seen[root]]
    lone = [vertex for part in parts if len(part) == 1 for vertex in part]
    return [part for part in parts if len(part) > 1] + ([lone] if lone else [])


def _walk(net: Net, root: int, seen: bytearray) -> list[int]:
    """Everything connected to the root, depth first and children first: neighbours come out close together."""
    found, stack = [], [root]
    while stack:
        vertex = stack.pop()
        if seen[vertex]:
            continue
        seen[vertex] = 1
        found.append(vertex)
        stack.extend(reversed(net.ups[vertex]))
        stack.extend(reversed(net.downs[vertex]))
    return found


def layers_of(net: Net, part: list[int]) -> Layers:
    layers: Layers = [[] for _ in range(max(net.layer[vertex] for vertex in part) + 1)]
    for vertex in part:
        layers[net.layer[vertex]].append(vertex)
    return layers


def untangled(net: Net, layers: Layers) -> Layers:
    """The order with the fewest crossings met while layers are sorted by their neighbours, to and fro."""
    if max(map(len, layers)) < 2:
        return layers
    size = sum(map(len, layers))
    best, fewest = layers, _crossings(net, layers)
    idle = 0
    for turn in range(turns(size, most=24, least=3)):
        layers = _swept(net, layers, turn)
        crossings = _crossings(net, layers)
        idle = 0 if crossings < fewest else idle + 1
        if crossings < fewest:
            best, fewest = layers, crossings
        if not fewest or idle > 4:
            break
    return _transposed(net, best) if fewest and size <= SMALL else best


def turns(size: int, *, most: int, least: int) -> int:
    """How often to improve a part of so many vertices: the more often the smaller, so that large ones stay quick."""
    return max(least, min(most, EFFORT // size))


def _swept(net: Net, layers: Layers, turn: int) -> Layers:
    down = turn % 2 == 0
    neighbours = net.ups if down else net.downs
    position: dict[int, float] = {}
    result = [list(layer) for layer in layers]
    for layer in result if down else reversed(result):
        _sort_layer(layer, neighbours, position, flip=turn % 4 > 1)
    return result


def _sort_layer(layer: list[int], neighbours: Layers, position: dict[int, float], *, flip: bool) -> None:
    """Sort by the mean place of the neighbours; `flip` turns ties around, which leaves some dead ends."""
    keys = {}
    for place, vertex in enumerate(layer):
        near = neighbours[vertex]
        keys[vertex] = sum([position[other] for other in near]) / len(near) if near else float(place)
    if flip:
        layer.reverse()
    layer.sort(key=keys.__getitem__)
    position.update(zip(layer, range(len(layer)), strict=True))


def _crossings(net: Net, layers: Layers) -> int:
    return sum(_crossings_between(net.downs, upper, lower) for upper, lower in pairwise(layers))


def _crossings_between(downs: Layers, upper: list[int], lower: list[int]) -> int:
    if len(upper) < 2 or len(lower) < 2:
        return 0
    place = {vertex: number for number, vertex in enumerate(lower)}
    seen: list[int] = []
    total = 0
    for vertex in upper:
        ends = [place[child] for child in downs[vertex]]
        total += sum([len(seen) - bisect_right(seen, end) for end in ends])
        for end in ends:
            insort(seen, end)
    return total


def _transposed(net: Net, layers: Layers) -> Layers:
    """Exchange neighbours in a layer as long as that removes crossings."""
    layers = [list(layer) for layer in layers]
    place = {vertex: number for layer in layers for number, vertex in enumerate(layer)}
    for _ in range(8):
        if not sum([_exchange(net, layer, place) for layer in layers]):
            break
    return layers


def _exchange(net: Net, layer: list[int], place: dict[int, int]) -> int:
    exchanged = 0
    for at in range(len(layer) - 1):
        first, second = layer[at], layer[at + 1]
        if _gain(net, first, second, place) > 0:
            layer[at], layer[at + 1] = second, first
            place[first], place[second] = at + 1, at
            exchanged += 1
    return exchanged


def _gain(net: Net, first: int, second: int, place: dict[int, int]) -> int:
    gain = 0
    for near in (net.ups, net.downs):
        ours = [place[v] for v in near[first]]
        theirs = [place[v] for v in near[second]]
        gain += sum((a > b) - (a < b) for a in ours for b in theirs)
    return gain
