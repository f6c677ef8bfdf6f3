"""A layout and the states of its steps made into a picture that a template can draw. Task and definition pages ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil
from urllib.parse import quote

from flask import url_for
from markupsafe import Markup

from engine.rows import DefinitionRow, EffectRow, StepRow, TaskRow, TemplateRow
from engine.states import SATISFYING
from webapp import graph
from webapp.filters import label, plural

MAP_LETTERS = 16
WORD_TO_NAME = 0.85  # how wide a letter of the second line is, in letters of the name
MARKS = {"stopping": "asked to stop", "bypassed": "to be skipped"}
# A collapsed box takes the state that most needs to be seen.
LOUDEST_FIRST = ("failed", "retrying", "running", "ready", "cancelled", "pending", "resolved", "skipped", "completed")
PASSED = frozenset(str(state) for state in SATISFYING)


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A box of the graph: a link to its step, or for a collapsed group to the first of its rows in the table; `kind` is step, decision or map.

    `detail` tells of the items of a map step by state, `effect` in a preview what an action would do to it.
    """

    name: str
    label: str
    state: str | None
    word: str
    url: str
    x: int
    y: int
    width: int
    height: int
    is_group: bool
    is_critical: bool
    kind: str = "step"
    detail: str = ""
    effect: str = ""


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """A line between two boxes; `kind` is open, passed or blocked."""

    path: Markup
    kind: str
    is_critical: bool


@dataclass(frozen=True, slots=True)
class Graph:
    """A picture ready to be drawn; `summary` says the same to those who cannot see it."""

    width: int
    height: int
    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...]
    summary: str


def task_graph(
    task: TaskRow,
    steps: Sequence[StepRow],
    critical: Sequence[str] = (),
    effects: Mapping[str, EffectRow] | None = None,
    row_urls: Mapping[int, str] | None = None,
) -> Graph | None:
    """The graph of a task, each box in the state of its step; the steps of the `critical` path and their edges are marked. None for what is too tangled to draw.

    A group leads to the first of its steps' rows, which is found at `row_urls` by the step's number, or on the same page. With `effects`, those of an action that is only thought of, each box tells what would become of its step.
    """
    steps = [step for step in steps if step.item_of is None]
    number = {step.name: step.step_no for step in steps}
    parents = tuple(tuple(number[name] for name in step.parents) for step in steps)
    states = [step.state for step in steps]
    urls = list(step_urls(task.task_id, [step.name for step in steps]).values())
    words = {name: effect_words(row) for name, row in (effects or {}).items() if row.effect != "kept"}
    picture = graph.picture(_measured(steps, words), parents)
    if picture is None:
        return None
    passed_over = frozenset(step.step_no for step in steps if step.passed_over)
    marked = [number[name] for name in critical]
    drawn = _draw(picture, urls, states, f"{plural(len(steps), 'step')}: {tally(states)}", marked, passed_over, row_urls)
    nodes = _with_kinds(drawn.nodes, {step.name: step for step in steps})
    if effects is not None:
        touched = [[steps[no].name for no in node.members if steps[no].name in words] for node in picture.nodes]
        nodes = tuple(_with_effect(node, names, words, effects) for node, names in zip(nodes, touched, strict=True))
    return replace(drawn, nodes=nodes)


def effect_words(row: EffectRow) -> str:
    """`Failed → Ready`, or the effect where the state stays what it is: `Pending, unblocked`."""
    if row.from_state != row.to_state:
        return f"{label(row.from_state)} → {label(row.to_state)}"
    return f"{label(row.to_state)}, {MARKS.get(row.effect, row.effect)}"


def _with_effect(
    node: GraphNode, touched: Sequence[str], words: Mapping[str, str], effects: Mapping[str, EffectRow]
) -> GraphNode:
    if not touched:
        return replace(node, effect="kept")
    word = f"{len(touched)} of {node.label} change" if node.is_group else words[touched[0]]
    return replace(node, effect=effects[touched[0]].effect, word=word)


def step_urls(task_id: str, names: Sequence[str]) -> dict[str, str]:
    """The page of each step. The address is built once: Flask would take as long for a thousand of them as for all the rest of a page."""
    first = url_for("steps.show", task_id=task_id, step_name="x").removesuffix("x")
    return {name: first + quote(name, safe="") for name in names}


def definition_graph(definition: DefinitionRow) -> Graph | None:
    """The graph of a definition; its boxes lead to the rows of the table below. None for what is too tangled to draw."""
    steps = definition.steps
    picture = graph.picture(_measured(steps), tuple(step.parents for step in steps))
    if picture is None:
        return None
    urls = [f"#step-{step.step_no}" for step in steps]
    drawn = _draw(picture, urls, None, plural(len(steps), "step"))
    return replace(drawn, nodes=_with_kinds(drawn.nodes, {step.name: step for step in steps}))


def _measured(steps: Sequence[StepRow | TemplateRow], words: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The names as the layout measures them: a map step needs room for the count of its items, a preview for what would become of a step."""
    least = {name: ceil(len(word) * WORD_TO_NAME) for name, word in (words or {}).items()}
    return tuple(step.name.ljust(max(least.get(step.name, 0), MAP_LETTERS if step.kind == "map" else 0)) for step in steps)


def _with_kinds(nodes: Sequence[GraphNode], steps: Mapping[str, StepRow | TemplateRow]) -> tuple[GraphNode, ...]:
    return tuple(_with_kind(node, steps.get(node.name)) for node in nodes)


def _with_kind(node: GraphNode, step: StepRow | TemplateRow | None) -> GraphNode:
    if step is None or step.kind == "step" or node.is_group:
        return node
    if isinstance(step, TemplateRow):
        return replace(node, kind=step.kind, detail=f"for each of {step.for_each}" if step.for_each else "")
    if not step.item_states:
        return replace(node, kind=step.kind)
    return replace(node, kind=step.kind, word=_items_word(step), detail=f"items: {_tally(step.item_states)}")


def _items_word(step: StepRow) -> str:
    failed = (step.item_states or {}).get("failed", 0)
    share = f"{step.items_done}/{step.item_count}" if step.item_count < 1000 else f"{step.items_done / step.item_count:.0%}"
    return f"{label(step.state)} {f'{failed:,} failed' if failed else share}"


def _draw(
    picture: graph.GraphLayout,
    urls: Sequence[str],
    states: Sequence[str] | None,
    summary: str,
    critical: Sequence[int] = (),
    passed_over: Collection[int] = (),
    row_urls: Mapping[int, str] | None = None,
) -> Graph:
    places = row_urls or {node.no: f"#step-{node.no}" for node in picture.nodes}
    leads = {node.no: urls[node.no] if node.count == 1 else places[node.no] for node in picture.nodes}
    nodes = tuple(_node(node, leads[node.no], states, frozenset(critical)) for node in picture.nodes)
    state_of = {node.no: drawn.state for node, drawn in zip(picture.nodes, nodes, strict=True)}
    box_of = {no: node.no for node in picture.nodes for no in node.members}
    path = {(box_of[one], box_of[after]) for one, after in pairwise(critical)}
    kinds = ("open" if edge.parent in passed_over or edge.child in passed_over else _edge_kind(state_of[edge.parent]) for edge in picture.edges)
    edges = tuple(
        GraphEdge(Markup(edge.path), kind, (edge.parent, edge.child) in path) for edge, kind in zip(picture.edges, kinds, strict=True)
    )
    return Graph(picture.width, picture.height, nodes, edges, summary)


def _node(node: graph.Node, url: str, states: Sequence[str] | None, critical: frozenset[int]) -> GraphNode:
    within = [states[no] for no in node.members] if states else []
    state = next((loud for loud in LOUDEST_FIRST if loud in within), None)
    alone = node.count == 1
    word = "" if state is None else label(state) if alone else tally(within)
    box = (node.x, node.y, node.width, node.height)
    return GraphNode(node.name.strip(), node.label.strip(), state, word, url, *box, not alone, not critical.isdisjoint(node.members))


def _edge_kind(parent_state: str | None) -> str:
    if parent_state in PASSED:
        return "passed"
    return "blocked" if parent_state in ("failed", "cancelled") else "open"


def tally(states: Iterable[str]) -> str:
    """`3 completed, 1 failed`, the loudest first."""
    return _tally(Counter(states))


def _tally(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[state]:,} {state}" for state in LOUDEST_FIRST if counts.get(state))
