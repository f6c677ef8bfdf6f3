"""The pictures themselves. A layout knows nothing of states or of pages, so one that is kept serves every task of a definition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from webapp.graph.alike import groups
from webapp.graph.canvas import Canvas
from webapp.graph.labels import label
from webapp.graph.measures import COLLAPSE_ABOVE, NODE_HEIGHT, Parents
from webapp.graph.net import Net, TooTangled, require_drawable
from webapp.graph.rows import spots


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


def picture(names: Sequence[str], parents: Sequence[Sequence[int]]) -> GraphLayout | None:
    """The layout a page shows: every step, or above `COLLAPSE_ABOVE` steps with the alike ones drawn as one; None for what is too tangled to draw."""
    try:
        return collapse(names, parents) if len(names) > COLLAPSE_ABOVE else layout(names, parents)
    except TooTangled:
        return None


def layout(names: Sequence[str], parents: Sequence[Sequence[int]]) -> GraphLayout:
    """Place every step. `parents[no]` are step numbers below `no`, as in a definition; the same input gives the same picture. Raises `TooTangled`."""
    members = tuple((no,) for no in range(len(names)))
    return laid_out(tuple(names), tuple(tuple(known) for known in parents), members)


def collapse(names: Sequence[str], parents: Sequence[Sequence[int]]) -> GraphLayout:
    """Place the steps with alike ones as one node: four or more with alike parents and alike children become "37 steps".

    Parallel branches of the same shape therefore become one branch. A node's `no` is its lowest step number. Raises `TooTangled`.
    """
    members = groups(tuple(tuple(known) for known in parents))
    group_of = {no: group for group, steps in enumerate(members) for no in steps}
    titles = tuple(names[steps[0]] if len(steps) == 1 else f"{len(steps)} steps" for steps in members)
    quotient = tuple(tuple(sorted({group_of[p] for no in steps for p in parents[no]})) for steps in members)
    return laid_out(titles, quotient, members)


@lru_cache(maxsize=256)
def laid_out(names: tuple[str, ...], parents: Parents, members: Parents) -> GraphLayout:
    require_drawable(parents)
    net = Net(parents)
    canvas = Canvas(net, spots(net), [label(name) for name in names])
    return GraphLayout(canvas.width, canvas.height, _nodes(canvas, names, members), _edges(canvas, parents, members))


def _nodes(canvas: Canvas, names: tuple[str, ...], members: Parents) -> tuple[Node, ...]:
    places = [canvas.box(step) for step in range(len(names))]
    facts = zip(names, canvas.labels, places, members, strict=True)
    return tuple(Node(steps[0], name, label, x, y, w, NODE_HEIGHT, steps) for name, label, (x, y, w), steps in facts)


def _edges(canvas: Canvas, parents: Parents, members: Parents) -> tuple[Edge, ...]:
    pairs = ((parent, child) for child, known in enumerate(parents) for parent in sorted(set(known)))
    return tuple(Edge(members[p][0], members[c][0], canvas.path(p, c)) for p, c in pairs)
