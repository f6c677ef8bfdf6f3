"""Where every step of a workflow stands in its picture: columns, rows and curves, computed once per definition.

Called when a workflow or a task page draws its DAG, and by `tasker graph --svg`. A layout knows nothing of states or of pages, so
that one cached layout serves every task of a definition. Left to right; a step's column is the longest chain before it.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from itertools import accumulate, pairwise
from math import ceil, sqrt
from typing import NamedTuple

NODE_HEIGHT = 44
COLLAPSE_ABOVE = 300

_MARGIN = 16
_ROW_GAP = 16
_PART_GAP = 28
_LINE_GAP = 12
_LETTER_WIDTH = 7.4
_PADDING = 40
_MIN_WIDTH = 112
_LABEL_LENGTH = 26
_LABEL_TAIL = 8
_COLUMN_GAP = (56, 168)
_GRID_GAP = 28
_GUTTER = NODE_HEIGHT // 2 + 10
_FAN_ROWS = 16
_MIXED_ROWS = 48
_SMALL = 400
_EFFORT = 8000
_ALIKE = 4

Parents = tuple[tuple[int, ...], ...]
Layers = list[list[int]]


@dataclass(frozen=True, slots=True)
class Node:
    """One box; `x`, `y` is its top left corner in pixels. `name` is whole, `label` fits the box.

    `members` are the step numbers it stands for: its own, or those of all the steps a collapsed node replaces.
    """

    no: int
    name: str
    label: str
    x: int
    y: int
    width: int
    height: int
    members: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many steps the box stands for; 1 unless the graph was collapsed."""
        return len(self.members)


@dataclass(frozen=True, slots=True)
class Edge:
    """A dependency; `path` is the `d` of an SVG path from the right side of `parent` to the left side of `child`."""

    parent: int
    child: int
    path: str


@dataclass(frozen=True, slots=True)
class GraphLayout:
    """A picture of `width` by `height` pixels; nodes in step order, edges by child and then parent."""

    width: int
    height: int
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def picture(names: Sequence[str], parents: Sequence[Sequence[int]]) -> GraphLayout:
    """The layout a page shows: every step, or above `COLLAPSE_ABOVE` steps with the alike ones drawn as one."""
    return collapse(names, parents) if len(names) > COLLAPSE_ABOVE else layout(names, parents)


def layout(names: Sequence[str], parents: Sequence[Sequence[int]]) -> GraphLayout:
    """Place every step. `parents[no]` are step numbers below `no`, as in a definition; the same input gives the same picture."""
    members = tuple((no,) for no in range(len(names)))
    return _layout(tuple(names), tuple(tuple(known) for known in parents), members)


def collapse(names: Sequence[str], parents: Sequence[Sequence[int]]) -> GraphLayout:
    """Place the steps with alike ones as one node: four or more with alike parents and alike children become "37 steps".

    Parallel branches of the same shape therefore become one branch. A node's `no` is its lowest step number.
    """
    members = _groups(tuple(tuple(known) for known in parents))
    group_of = {no: group for group, steps in enumerate(members) for no in steps}
    titles = tuple(names[steps[0]] if len(steps) == 1 else f"{len(steps)} steps" for steps in members)
    quotient = tuple(tuple(sorted({group_of[p] for no in steps for p in parents[no]})) for steps in members)
    return _layout(titles, quotient, members)


def standalone_svg(
    names: Sequence[str], parents: Sequence[Sequence[int]], states: Mapping[str, str], kinds: Mapping[str, str] | None = None
) -> str:
    """The whole picture as an SVG file of its own; each box tells its step's state by word and colour if it has one.

    `kinds` names the decisions and map steps, which are marked; a state may have more words behind its first, such as `pending 3/50`.
    """
    drawn = layout(names, parents)
    size = f'width="{drawn.width}" height="{drawn.height}" viewBox="0 0 {drawn.width} {drawn.height}"'
    lines = "".join(f'<path class="edge" d="{edge.path}" marker-end="url(#tip)"/>\n' for edge in drawn.edges)
    boxes = "".join(_svg_box(node, states.get(node.name, ""), (kinds or {}).get(node.name, "step")) for node in drawn.nodes)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n<style>{_SVG_STYLE}</style>\n{_SVG_TIP}\n'
    return f'{head}<rect class="paper" width="100%" height="100%"/>\n{lines}{boxes}</svg>\n'


def _svg_box(node: Node, state: str, kind: str = "step") -> str:
    name, label, word = escape(node.name), escape(node.label), escape(state)
    box = f'<rect class="box" x="{node.x}" y="{node.y}" width="{node.width}" height="{node.height}" rx="3"/>'
    band = f'<rect class="band" x="{node.x}" y="{node.y}" width="4" height="{node.height}"/>' if state else ""
    text = f'<text x="{node.x + 14}" y="{node.y + (18 if state else 27)}">{label}</text>'
    below = f'<text class="word" x="{node.x + 14}" y="{node.y + 35}">{word}</text>' if state else ""
    under = f'<rect class="box" x="{node.x + 4}" y="{node.y + 4}" width="{node.width}" height="{node.height}" rx="3"/>' if kind == "map" else ""
    mark = f'<text class="word" x="{node.x + node.width - 8}" y="{node.y + 16}" text-anchor="end">{_SVG_MARKS[kind]}</text>' if kind in _SVG_MARKS else ""
    title = f"{name}, {kind}" if kind in _SVG_MARKS else name
    return f'<g class="{word.partition(" ")[0]}"><title>{title}</title>{under}{box}{band}{text}{below}{mark}</g>\n'


_SVG_MARKS = {"decision": "\u25c7", "map": "\u2200"}


_SVG_STYLE = """
svg { color-scheme: light dark; font: 13px ui-sans-serif, system-ui, sans-serif }
.paper { fill: #fff } .box { fill: #fff; stroke: #7b8290 } text { fill: #1c2330 } .word { font-size: 11px; fill: #555d6b }
.edge { fill: none; stroke: #7b8290; stroke-width: 1.5 } #tip path { fill: #7b8290 } .band { fill: #7b8290 }
.completed .band, .resolved .band { fill: #1a7f4b } .failed .band { fill: #c0272d } .retrying .band { fill: #b35c00 }
.running .band, .ready .band { fill: #1f5fd0 }
@media (prefers-color-scheme: dark) {
.paper, .box { fill: #171a21 } text { fill: #eceae4 } .word { fill: #b3b8c2 }
}
"""
_SVG_TIP = (
    '<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L8 4L0 8z"/></marker>'
)


@lru_cache(maxsize=256)
def _layout(names: tuple[str, ...], parents: Parents, members: Parents) -> GraphLayout:
    net = _Net(parents)
    canvas = _Canvas(net, _spots(net), [_label(name) for name in names])
    return GraphLayout(canvas.width, canvas.height, _nodes(canvas, names, members), _edges(canvas, parents, members))


def _nodes(canvas: _Canvas, names: tuple[str, ...], members: Parents) -> tuple[Node, ...]:
    places = [canvas.box(step) for step in range(len(names))]
    facts = zip(names, canvas.labels, places, members, strict=True)
    return tuple(Node(steps[0], name, label, x, y, w, NODE_HEIGHT, steps) for name, label, (x, y, w), steps in facts)


def _edges(canvas: _Canvas, parents: Parents, members: Parents) -> tuple[Edge, ...]:
    pairs = ((parent, child) for child, known in enumerate(parents) for parent in sorted(set(known)))
    return tuple(Edge(members[p][0], members[c][0], canvas.path(p, c)) for p, c in pairs)


# Labels


def _label(name: str) -> str:
    """The name, or its beginning and its end: names that differ often differ in their last letters."""
    if _length(name) <= _LABEL_LENGTH:
        return name
    tail = _head(name[::-1], _LABEL_TAIL)[::-1]
    return f"{_head(name, _LABEL_LENGTH - _LABEL_TAIL - 1)}…{tail}"


def _head(name: str, length: int) -> str:
    end = 0
    while end < len(name) and _length(name[: end + 1]) <= length:
        end += 1
    return name[:end]


def _length(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


# Alike steps


@lru_cache(maxsize=256)
def _groups(parents: Parents) -> Parents:
    """Steps of the same kind together, ordered by their first; kinds of fewer than `_ALIKE` steps are taken apart.

    Taking a kind apart can tell its neighbours apart too, hence the loop.
    """
    children = _children(parents)
    kinds = _depths(parents)
    while True:
        kinds = _refined(kinds, parents, children)
        sizes = Counter(kinds)
        if all(size == 1 or size >= _ALIKE for size in sizes.values()):
            return _by_kind(kinds)
        kinds = [kind if sizes[kind] >= _ALIKE else -1 - no for no, kind in enumerate(kinds)]


def _refined(kinds: list[int], parents: Parents, children: Layers) -> list[int]:
    """Split kinds until steps of one kind have parents and children of the same kinds."""
    count = len(set(kinds))
    while True:
        seen: dict[object, int] = {}
        views = (_view(no, kinds, parents[no], children[no]) for no in range(len(kinds)))
        kinds = [seen.setdefault(view, len(seen)) for view in views]
        if len(seen) == count:
            return kinds
        count = len(seen)


def _view(no: int, kinds: list[int], parents: Sequence[int], children: Sequence[int]) -> object:
    return kinds[no], tuple(sorted(kinds[p] for p in parents)), tuple(sorted(kinds[c] for c in children))


def _by_kind(kinds: list[int]) -> Parents:
    groups: dict[int, list[int]] = defaultdict(list)
    for no, kind in enumerate(kinds):
        groups[kind].append(no)
    return tuple(map(tuple, groups.values()))


def _depths(parents: Parents) -> list[int]:
    depths: list[int] = []
    for known in parents:
        depths.append(max((depths[parent] for parent in known), default=-1) + 1)
    return depths


def _children(parents: Parents) -> Layers:
    children: Layers = [[] for _ in parents]
    for child, known in enumerate(parents):
        for parent in known:
            children[parent].append(child)
    return children


# Layers and bends


class _Net:
    """The steps, and a bend wherever an edge passes a layer, so that all neighbours are one layer apart.

    Long edges that leave one step, or that enter one, share their bends: they are drawn as one trunk with branches.
    """

    def __init__(self, parents: Parents) -> None:
        self.step_count = len(parents)
        self.layer = _depths(parents)
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


# Order inside the layers


def _parts(net: _Net) -> list[list[int]]:
    """The vertices of every connected part, by its first step; the steps connected to nothing are one part, the last."""
    seen = bytearray(len(net.layer))
    parts = [_walk(net, root, seen) for root in range(net.step_count) if not seen[root]]
    lone = [vertex for part in parts if len(part) == 1 for vertex in part]
    return [part for part in parts if len(part) > 1] + ([lone] if lone else [])


def _walk(net: _Net, root: int, seen: bytearray) -> list[int]:
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


def _layers_of(net: _Net, part: list[int]) -> Layers:
    layers: Layers = [[] for _ in range(max(net.layer[vertex] for vertex in part) + 1)]
    for vertex in part:
        layers[net.layer[vertex]].append(vertex)
    return layers


def _untangled(net: _Net, layers: Layers) -> Layers:
    """The order with the fewest crossings met while layers are sorted by their neighbours, to and fro."""
    if max(map(len, layers)) < 2:
        return layers
    size = sum(map(len, layers))
    best, fewest = layers, _crossings(net, layers)
    idle = 0
    for turn in range(_turns(size, most=24, least=3)):
        layers = _swept(net, layers, turn)
        crossings = _crossings(net, layers)
        idle = 0 if crossings < fewest else idle + 1
        if crossings < fewest:
            best, fewest = layers, crossings
        if not fewest or idle > 4:
            break
    return _transposed(net, best) if fewest and size <= _SMALL else best


def _turns(size: int, *, most: int, least: int) -> int:
    """How often to improve a part of so many vertices: the more often the smaller, so that large ones stay quick."""
    return max(least, min(most, _EFFORT // size))


def _swept(net: _Net, layers: Layers, turn: int) -> Layers:
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


def _crossings(net: _Net, layers: Layers) -> int:
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


def _transposed(net: _Net, layers: Layers) -> Layers:
    """Exchange neighbours in a layer as long as that removes crossings."""
    layers = [list(layer) for layer in layers]
    place = {vertex: number for layer in layers for number, vertex in enumerate(layer)}
    for _ in range(8):
        if not sum([_exchange(net, layer, place) for layer in layers]):
            break
    return layers


def _exchange(net: _Net, layer: list[int], place: dict[int, int]) -> int:
    exchanged = 0
    for at in range(len(layer) - 1):
        first, second = layer[at], layer[at + 1]
        if _gain(net, first, second, place) > 0:
            layer[at], layer[at + 1] = second, first
            place[first], place[second] = at + 1, at
            exchanged += 1
    return exchanged


def _gain(net: _Net, first: int, second: int, place: dict[int, int]) -> int:
    gain = 0
    for near in (net.ups, net.downs):
        ours = [place[v] for v in near[first]]
        theirs = [place[v] for v in near[second]]
        gain += sum((a > b) - (a < b) for a in ours for b in theirs)
    return gain


# Rows


class _Grid:
    """The layers cut into rows: one box or one bend each, or several boxes beside each other where a layer is too long."""

    def __init__(self, net: _Net, layers: Layers) -> None:
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
        gap = _LINE_GAP if lines else _ROW_GAP if self.columns[self.layer_of(upper)] == 1 else _GRID_GAP
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


def _column_count(net: _Net, layer: list[int]) -> int:
    """1 for most layers. A long layer is drawn as a grid about as wide as it is high, a plain fan sooner than others."""
    steps = [vertex for vertex in layer if not net.is_bend(vertex)]
    limit = _FAN_ROWS if _is_fan(net, steps) else _MIXED_ROWS
    return ceil(len(steps) / max(limit, ceil(sqrt(2.5 * len(steps)))))


def _is_fan(net: _Net, steps: list[int]) -> bool:
    return len({(tuple(net.ups[step]), tuple(net.downs[step])) for step in steps}) <= 1


class _Spot(NamedTuple):
    """Where a vertex is: the middle of its row in pixels, and its place in that row."""

    y: int
    place: int
    is_last: bool


def _spots(net: _Net) -> dict[int, _Spot]:
    """Place every vertex; connected parts stand under each other."""
    spots: dict[int, _Spot] = {}
    top = _MARGIN + NODE_HEIGHT // 2
    for part in _parts(net):
        grid = _Grid(net, _untangled(net, _layers_of(net, part)))
        _place_rows(grid)
        spots.update(_spots_of(grid, top - min(grid.y)))
        top += round(max(grid.y) - min(grid.y)) + NODE_HEIGHT + _PART_GAP
    return spots


def _spots_of(grid: _Grid, offset: float) -> Iterator[tuple[int, _Spot]]:
    for row, y in zip(grid.rows, grid.y, strict=True):
        for place, vertex in enumerate(row):
            yield vertex, _Spot(round(y + offset), place, vertex == row[-1])


def _place_rows(grid: _Grid) -> None:
    """Set the middle of every row: in order, apart, near its neighbours, and chains on one line."""
    for layer in grid.layers:
        _settle(grid, layer, [(0.0, 1.0)] * len(layer))
    for _ in range(_turns(len(grid.rows), most=6, least=1)):
        _pull_rows(grid, grid.layers, [grid.ups])
        _pull_rows(grid, grid.layers[::-1], [grid.downs])
    _pull_rows(grid, grid.layers, [grid.ups, grid.downs])
    _straighten(grid)
    if len(grid.rows) <= _SMALL:
        _straighten(grid)  # what the first pass moved close together becomes straight too


def _pull_rows(grid: _Grid, layers: Layers, sides: list[list[list[tuple[int, int]]]]) -> None:
    for layer in layers:
        _settle(grid, layer, [_wanted(grid.y, row, sides) for row in layer])


def _wanted(y: list[float], row: int, sides: list[list[list[tuple[int, int]]]]) -> tuple[float, float]:
    """The mean of the neighbours' places and how much it counts; a row without neighbours would stay."""
    pulls = [pull for side in sides for pull in side[row]]
    if not pulls:
        return y[row], 0.1
    weight = sum([pull for _, pull in pulls])
    return sum([y[other] * pull for other, pull in pulls]) / weight, float(weight)


def _settle(grid: _Grid, layer: list[int], wanted: list[tuple[float, float]]) -> None:
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


# Straight lines


def _straighten(grid: _Grid) -> None:
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


def _lines(grid: _Grid) -> tuple[list[int], Layers]:
    line_of = list(range(len(grid.rows)))
    for upper, lower in sorted(_aligned(grid), key=lambda pair: pair[1]):
        line_of[lower] = line_of[upper]
    lines: dict[int, list[int]] = defaultdict(list)
    for row, line in enumerate(line_of):
        lines[line].append(row)
    number = {line: at for at, line in enumerate(lines)}
    return [number[line] for line in line_of], list(lines.values())


def _aligned(grid: _Grid) -> Iterator[tuple[int, int]]:
    """Pairs of rows to be drawn at one height: no two cross, no row has two on one side; long edges come first."""
    for layer in grid.layers[:-1]:
        pairs = ((row, other) for row in layer for other, _ in grid.downs[row])
        ranked = sorted((_rank(grid, a, b), a, b) for a, b in set(pairs))
        yield from _without_crossings((a, b) for (kind, _), a, b in ranked if kind < 3)


def _rank(grid: _Grid, row: int, other: int) -> tuple[int, float]:
    slope = abs(grid.y[row] - grid.y[other])
    if grid.is_line(row) and grid.is_line(other):
        return 0, slope
    if len(grid.downs[row]) == 1 and len(grid.ups[other]) == 1:
        return 1, slope
    return (2 if slope < _LINE_GAP else 3), slope


def _without_crossings(pairs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    kept: list[tuple[int, int]] = []
    for pair in pairs:
        at = bisect_left(kept, pair)
        before, after = kept[at - 1 : at] if at else [], kept[at : at + 1]
        if all(a < pair[0] and b < pair[1] for a, b in before) and all(a > pair[0] and b > pair[1] for a, b in after):
            kept.insert(at, pair)
    return kept


def _below(grid: _Grid, line_of: list[int], count: int) -> list[list[tuple[int, float]]]:
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


# Pixels


class _Canvas:
    """The spots in pixels: columns as wide as their longest label, and more room between them where edges are steep."""

    def __init__(self, net: _Net, spots: dict[int, _Spot], labels: list[str]) -> None:
        self.labels = labels
        self._net = net
        self._spots = spots
        self._box_widths = _box_widths(net, labels)
        self._left, self._right = self._columns()
        self.width = (self._right[-1] if self._right else 0) + _MARGIN
        self.height = max((spot.y for spot in spots.values()), default=0) + NODE_HEIGHT // 2 + _MARGIN

    def box(self, step: int) -> tuple[int, int, int]:
        """Left, top and width of a step's box."""
        layer, spot = self._net.layer[step], self._spots[step]
        width = self._box_widths[layer]
        return self._left[layer] + spot.place * (width + _GRID_GAP), spot.y - NODE_HEIGHT // 2, width

    def path(self, parent: int, child: int) -> str:
        points = self._leave(parent)
        for bend in self._net.ways[parent, child]:
            layer, y = self._net.layer[bend], self._spots[bend].y
            points += [(self._left[layer], y), (self._right[layer], y)]
        return _drawn(points + self._enter(child))

    def _leave(self, step: int) -> list[tuple[int, int]]:
        """From the right side to the end of the column; past other boxes of the row in the gutter under it."""
        (x, _, width), spot, end = self.box(step), self._spots[step], self._right[self._net.layer[step]]
        if spot.is_last:
            return [(x + width, spot.y), (end, spot.y)]
        gutter = spot.y + _GUTTER
        return [(x + width, spot.y), (x + width + _GRID_GAP, gutter), (end, gutter)]

    def _enter(self, step: int) -> list[tuple[int, int]]:
        """From the start of the column to the left side; past other boxes of the row in the gutter over it."""
        (x, _, _), spot = self.box(step), self._spots[step]
        if not spot.place:
            return [(x, spot.y)]
        gutter = spot.y - _GUTTER
        return [(self._left[self._net.layer[step]], gutter), (x - _GRID_GAP, gutter), (x, spot.y)]

    def _columns(self) -> tuple[list[int], list[int]]:
        left, right, x = [], [], _MARGIN
        gaps = self._gaps()
        for layer, count in enumerate(self._counts()):
            left.append(x)
            right.append(x + count * (self._box_widths[layer] + _GRID_GAP) - _GRID_GAP)
            x = right[-1] + gaps[layer]
        return left, right

    def _counts(self) -> list[int]:
        counts = [1] * len(self._box_widths)
        for vertex, spot in self._spots.items():
            layer = self._net.layer[vertex]
            counts[layer] = max(counts[layer], spot.place + 1)
        return counts

    def _gaps(self) -> list[int]:
        """The room after each layer, a quarter of the height of the steepest edge within limits."""
        steepest = [0] * len(self._box_widths)
        for vertex, spot in self._spots.items():
            layer, ends = self._net.layer[vertex], self._net.downs[vertex]
            steepest[layer] = max([abs(spot.y - self._spots[end].y) for end in ends] + [steepest[layer]])
        return [min(max(height // 4, _COLUMN_GAP[0]), _COLUMN_GAP[1]) for height in steepest]


def _box_widths(net: _Net, labels: list[str]) -> list[int]:
    widths = [_MIN_WIDTH] * (max(net.layer, default=-1) + 1)
    for step, label in enumerate(labels):
        widths[net.layer[step]] = max(widths[net.layer[step]], ceil(_length(label) * _LETTER_WIDTH) + _PADDING)
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
