"""What a picture of a workflow always keeps: order, room, straight chains and lines beside the boxes, never through them."""

from __future__ import annotations

import random
import re
import time
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webapp import graph
from webapp.graph import GraphLayout, Node, alike, net
from webapp.graph.alike import groups
from webapp.graph.measures import ALIKE
from webapp.graph.net import Net
from webapp.graph.pictures import laid_out

Dag = tuple[list[str], list[tuple[int, ...]]]


def dag(notation: str) -> Dag:
    """Steps and parents from `a -> b c -> d, b -> e`; parents come before their children."""
    parents: dict[str, list[str]] = {}
    for part in notation.split(","):
        groups = [group.split() for group in part.split("->")]
        for name in (name for group in groups for name in group):
            parents.setdefault(name, [])
        for before, after in pairwise(groups):
            for name in after:
                parents[name] += [parent for parent in before if parent not in parents[name]]
    names: list[str] = []
    while len(names) < len(parents):
        names.append(next(n for n in parents if n not in names and set(parents[n]) <= set(names)))
    return names, [tuple(names.index(parent) for parent in parents[name]) for name in names]


def drawn(notation: str) -> dict[str, Node]:
    return {node.name: node for node in graph.layout(*dag(notation)).nodes}


def middle(node: Node) -> float:
    return node.y + node.height / 2


def points(path: str) -> list[tuple[float, float]]:
    """Points along a path, close together."""
    found: list[tuple[float, float]] = []
    for command, text in re.findall(r"([MHC])([^MHC]*)", path):
        numbers = [float(number) for number in text.split()]
        if command == "M":
            found.append((numbers[0], numbers[1]))
            continue
        (x, y), given_points = found[-1], [numbers[0], found[-1][1]] * 3 if command == "H" else numbers
        found += [curve((x, y), given_points, step / 24) for step in range(1, 25)]
    return found


def curve(start: tuple[float, float], numbers: list[float], t: float) -> tuple[float, float]:
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
    xs, ys = (start[0], *numbers[0::2]), (start[1], *numbers[1::2])
    return sum(w * x for w, x in zip(weights, xs, strict=True)), sum(w * y for w, y in zip(weights, ys, strict=True))


def assert_readable(layout: GraphLayout) -> None:
    assert_apart(layout)
    assert_inside(layout)
    assert_lines_join_their_boxes(layout)
    assert_no_line_runs_through_a_box(layout)


def assert_apart(layout: GraphLayout) -> None:
    for one, other in combinations(layout.nodes, 2):
        beside = one.x + one.width + 20 <= other.x or other.x + other.width + 20 <= one.x
        below = one.y + one.height + 12 <= other.y or other.y + other.height + 12 <= one.y
        assert beside or below, (one, other)


def assert_inside(layout: GraphLayout) -> None:
    corners = [(n.x, n.y) for n in layout.nodes] + [(n.x + n.width, n.y + n.height) for n in layout.nodes]
    spots = corners + [point for edge in layout.edges for point in points(edge.path)]
    assert all(0 <= x <= layout.width and 0 <= y <= layout.height for x, y in spots)


def assert_lines_join_their_boxes(layout: GraphLayout) -> None:
    node = {node.no: node for node in layout.nodes}
    for edge in layout.edges:
        way = points(edge.path)
        parent, child = node[edge.parent], node[edge.child]
        assert way[0] == (parent.x + parent.width, middle(parent))
        assert way[-1] == (child.x, middle(child))
        assert all(after[0] >= before[0] - 0.01 for before, after in pairwise(way)), "a line goes back"


def assert_no_line_runs_through_a_box(layout: GraphLayout) -> None:
    for edge in layout.edges:
        for x, y in points(edge.path):
            assert not any(
                n.x + 1 < x < n.x + n.width - 1 and n.y - 2 < y < n.y + n.height + 2 for n in layout.nodes
            ), edge


# Places


def test_a_chain_is_one_straight_line_from_left_to_right() -> None:
    layout = graph.layout(*dag("a -> b -> c -> d"))
    assert len({node.y for node in layout.nodes}) == 1
    assert [node.x for node in layout.nodes] == sorted(node.x for node in layout.nodes)
    assert all(re.fullmatch(r"M\d+ \d+H\d+", edge.path) for edge in layout.edges)


def test_a_column_is_the_longest_chain_before_a_step() -> None:
    steps = drawn("a -> b -> c -> d, a -> d, x -> d")
    assert steps["a"].x == steps["x"].x < steps["b"].x < steps["c"].x < steps["d"].x


def test_a_parent_stands_at_the_middle_of_its_children() -> None:
    steps = drawn("start -> a b c d -> finish")
    assert middle(steps["start"]) == middle(steps["finish"]) == (middle(steps["a"]) + middle(steps["d"])) / 2


def test_a_diamond_is_symmetrical_and_its_middle_line_straight() -> None:
    steps = drawn("top -> a b c -> end")
    assert steps["top"].y == steps["b"].y == steps["end"].y
    assert steps["b"].y - steps["a"].y == steps["c"].y - steps["b"].y


def test_parallel_branches_stay_straight_and_do_not_cross() -> None:
    steps = drawn("root -> a1 b1 c1, a1 -> a2 -> a3, b1 -> b2 -> b3, c1 -> c2 -> c3, a3 b3 c3 -> end")
    for branch in "abc":
        assert len({steps[f"{branch}{number}"].y for number in (1, 2, 3)}) == 1
    assert len({steps[name].y for name in ("a1", "b1", "c1")}) == 3


def test_several_roots_and_leaves_are_placed_without_crossings() -> None:
    steps = drawn("load -> transform -> report, validate -> enrich -> report, validate -> audit")
    assert steps["load"].y < steps["validate"].y
    assert steps["transform"].y < steps["enrich"].y < steps["audit"].y


def test_a_long_edge_keeps_clear_of_the_steps_it_passes() -> None:
    assert_readable(graph.layout(*dag("a -> b -> c -> d -> e, a -> e, b -> e, a -> d, a -> c")))


def test_parts_that_are_not_connected_stand_under_each_other() -> None:
    steps = drawn("x -> y -> z, a -> b, lone")
    assert max(steps[name].y for name in "xyz") + graph.NODE_HEIGHT < min(steps[name].y for name in "ab")
    assert max(steps[name].y for name in "ab") + graph.NODE_HEIGHT < steps["lone"].y


def test_the_same_steps_give_the_same_picture() -> None:
    names, parents = dag("a -> b c d -> e f -> g, c -> g, a -> f")
    first = graph.layout(names, parents)
    laid_out.cache_clear()
    assert graph.layout(tuple(names), tuple(parents)) == first


def test_no_steps_make_an_empty_picture() -> None:
    layout = graph.layout([], [])
    assert (layout.nodes, layout.edges) == ((), ())


# Labels


def test_a_long_name_is_shortened_in_its_box_only() -> None:
    name = "copy_partition_of_the_warehouse_table_017"
    (node,) = graph.layout([name], [()]).nodes
    assert node.name == name
    assert node.label == "copy_partition_of…able_017"


def test_columns_are_as_wide_as_their_longest_name() -> None:
    short, long, wide = (
        graph.layout([name], [()]).nodes[0].width for name in ("a", "a_name_of_some_length", "検証検証検証検証検証")
    )
    assert short < long
    assert short < wide


# Many steps


def fan(count: int) -> Dag:
    names = ["split", *(f"part_{number}" for number in range(count)), "join"]
    return names, [(), *[(0,)] * count, tuple(range(1, count + 1))]


@pytest.mark.parametrize("count", [40, 1000])
def test_a_wide_fan_is_drawn_as_a_grid(count: int) -> None:
    layout = graph.layout(*fan(count))
    assert layout.height < 1.7 * layout.width
    assert layout.height < 120 * count**0.5 + 400
    columns = {node.x for node in layout.nodes[1:-1]}
    assert len(columns) > 2


def test_lines_of_a_grid_run_between_its_boxes() -> None:
    assert_readable(graph.layout(*fan(40)))


def scattered(count: int, near: int) -> Dag:
    """Each step after one of the three before it, and after any of the `near` before it."""
    chance = random.Random(1)
    parents = [tuple({no - 1 - chance.randrange(min(no, near)), no - 1 - no % 3}) if no > 3 else () for no in range(count)]
    return [f"step_{number}" for number in range(count)], parents


def halves(count: int) -> Dag:
    """Edges of every length: each step after the one before, the one half as far, and the one seven before."""
    return [f"step_{no}" for no in range(count)], [tuple(sorted({no - 1, no // 2, max(no - 7, 0)})) if no else () for no in range(count)]


def test_a_thousand_steps_are_placed_quickly() -> None:
    started = time.process_time()
    graph.layout(*scattered(1000, 100))
    assert time.process_time() - started < 10  # processor seconds: what this forbids takes minutes


@pytest.mark.parametrize("steps", [halves(2000), scattered(2000, 2000), ([str(no) for no in range(2000)], [() if no == 0 else tuple({0, no - 1}) for no in range(2000)])])
def test_what_is_too_tangled_to_draw_has_no_picture_and_is_known_for_it_at_once(steps: Dag) -> None:
    names, parents = steps
    started = time.process_time()
    assert graph.picture(names, parents) is None
    assert graph.page_svg(names, parents, {}, {}) is None
    with pytest.raises(graph.TooTangled, match="2,000 steps"):
        graph.standalone_svg(names, parents, {})
    assert time.process_time() - started < 10  # processor seconds: what this forbids takes minutes


@pytest.mark.parametrize("steps", [halves(60), scattered(60, 60), scattered(60, 9)])
def test_bends_are_counted_before_they_are_made(steps: Dag, monkeypatch: pytest.MonkeyPatch) -> None:
    names, parents = steps
    made = Net(tuple(parents))
    bends = len(made.layer) - len(names)
    monkeypatch.setattr(net, "MOST_BENDS", bends)
    net.require_drawable(tuple(parents))
    monkeypatch.setattr(net, "MOST_BENDS", bends - 1)
    with pytest.raises(graph.TooTangled):
        net.require_drawable(tuple(parents))


def test_what_tells_chains_apart_too_far_away_leaves_every_step_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The difference at the end goes back through the chains one step a round."""
    chains, length = ALIKE + 1, 30
    parents = ((), *[(0,)] * chains, *((no - chains,) for no in range(1 + chains, 1 + chains * length)), (chains * length,))
    assert max(map(len, groups.__wrapped__(parents))) == ALIKE
    monkeypatch.setattr(alike, "ROUNDS", length - 1)
    assert groups.__wrapped__(parents) == tuple((no,) for no in range(len(parents)))


def test_collapsed_alike_steps_are_one_node() -> None:
    layout = graph.collapse(*fan(37))
    assert [(node.name, node.count) for node in layout.nodes] == [("split", 1), ("37 steps", 37), ("join", 1)]
    assert layout.nodes[1].members == tuple(range(1, 38))
    assert [(edge.parent, edge.child) for edge in layout.edges] == [(0, 1), (1, 38)]


def test_collapsed_parallel_branches_are_one_branch() -> None:
    names = ["root", *(f"{letter}{number}" for letter in "abcde" for number in range(3))]
    parents = [() if no == 0 else (0,) if no % 3 == 1 else (no - 1,) for no in range(16)]
    assert [node.name for node in graph.collapse(names, parents).nodes] == ["root", "5 steps", "5 steps", "5 steps"]


def test_three_alike_steps_are_not_collapsed() -> None:
    assert all(node.count == 1 for node in graph.collapse(*fan(3)).nodes)


def test_only_large_graphs_are_collapsed_on_a_page() -> None:
    few, many = graph.picture(*fan(200)), graph.picture(*fan(400))
    assert few
    assert many
    assert (len(few.nodes), len(many.nodes)) == (202, 3)


# As a file


def test_the_picture_as_a_file_is_well_formed_and_tells_names_and_states() -> None:
    names, parents = dag("load -> check -> ship")
    root = ElementTree.fromstring(graph.standalone_svg([*names[:2], "<ship> & co"], parents, {"check": "failed"}))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["load", "check", "failed", "<ship> & co"]
    assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) == 3  # two dependencies and the arrow's tip


# Any graph


@st.composite
def dags(draw: st.DrawFn) -> Dag:
    count = draw(st.integers(1, 40))
    near = draw(st.integers(1, 40))
    parents = [
        tuple(sorted(draw(st.sets(st.integers(max(0, no - near), no - 1), max_size=3)))) if no else ()
        for no in range(count)
    ]
    return [f"step_{no}" for no in range(count)], parents


@settings(max_examples=25, deadline=None)
@given(dags())
def test_any_graph_is_readable(steps: Dag) -> None:
    assert_readable(graph.layout(*steps))


@settings(max_examples=10, deadline=None)
@given(dags(), st.integers(17, 60))
def test_any_graph_with_a_wide_layer_is_readable(steps: Dag, width: int) -> None:
    names, parents = steps
    alike = [(len(names) - 1,)] * width
    assert_readable(
        graph.layout(
            [*names, *(f"part_{no}" for no in range(width)), "join"],
            [*parents, *alike, (0, len(names), len(names) + width - 1)],
        )
    )


@settings(max_examples=25, deadline=None)
@given(dags())
def test_collapsing_keeps_every_step_in_exactly_one_node(steps: Dag) -> None:
    layout = graph.collapse(*steps)
    assert sorted(no for node in layout.nodes for no in node.members) == list(range(len(steps[0])))
    assert_readable(layout)
