"""Two versions of a workflow as one picture: the steps of both, with what became of each and of the lines between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from webapp import graph
from webapp.contexts import TABLE_ONLY_ABOVE
from webapp.drawing import Graph, GraphEdge, GraphNode
from webapp.filters import plural
from webapp.version_diff import StepDiff, VersionDiff

WORDS = {"added": "Added", "removed": "Removed", "rewired": "Re-wired", "changed": "Changed", "same": "As before"}
LOUDEST_FIRST = ("removed", "added", "rewired", "changed", "same")


def diff_graph(diff: VersionDiff) -> Graph | None:
    """Both versions as one picture; None for more, or more tangled, steps than are drawn."""
    return steps_graph(diff.steps, WORDS)


def steps_graph(steps: Sequence[StepDiff], words: Mapping[str, str]) -> Graph | None:
    """The same of any steps, with the words for what became of each. A line that only the old side has is left out where it would run against the new one's order."""
    if len(steps) > TABLE_ONLY_ABOVE:
        return None
    lines = _lines(steps)
    order = _in_order([step.name for step in steps], lines)
    number = {name: no for no, name in enumerate(order)}
    parents: list[list[int]] = [[] for _ in order]
    for parent, child in lines:
        parents[number[child]].append(number[parent])
    picture = graph.picture(order, [sorted(known) for known in parents])
    if picture is None:
        return None
    place = {step.name: no for no, step in enumerate(steps)}
    nodes = tuple(_node(node, [place[order[no]] for no in node.members], steps, words) for node in picture.nodes)
    kinds = (lines.get((order[edge.parent], order[edge.child]), "open") for edge in picture.edges)
    edges = tuple(GraphEdge(Markup(edge.path), kind, False) for edge, kind in zip(picture.edges, kinds, strict=True))
    return Graph(picture.width, picture.height, nodes, edges, _summary(steps, words))


def _lines(steps: Sequence[StepDiff]) -> dict[tuple[str, str], str]:
    """Every line from a parent to a child with its kind: added, removed or open, which both versions have."""
    lines: dict[tuple[str, str], str] = {}
    children: dict[str, list[str]] = {step.name: [] for step in steps}
    for step in steps:
        for parent in step.new_parents:
            lines[parent, step.name] = "open" if parent in step.old_parents else "added"
            children[parent].append(step.name)
    for step in steps:
        for parent in step.old_parents:
            if (parent, step.name) not in lines and not _leads(children, step.name, parent):
                lines[parent, step.name] = "removed"
                children[parent].append(step.name)
    return lines


def _leads(children: Mapping[str, Sequence[str]], begin: str, end: str) -> bool:
    """Whether the lines drawn so far lead from one step to the other."""
    seen, waiting = {begin}, deque([begin])
    while waiting:
        name = waiting.popleft()
        if name == end:
            return True
        fresh = [child for child in children[name] if child not in seen]
        seen.update(fresh)
        waiting.extend(fresh)
    return False


def _in_order(names: Sequence[str], lines: Mapping[tuple[str, str], str]) -> list[str]:
    """The names with every parent before its children, otherwise in the order given."""
    open_parents = dict.fromkeys(names, 0)
    children: dict[str, list[str]] = {name: [] for name in names}
    for parent, child in lines:
        open_parents[child] += 1
        children[parent].append(child)
    order = [name for name in names if not open_parents[name]]
    for name in order:
        for child in children[name]:
            open_parents[child] -= 1
            if not open_parents[child]:
                order.append(child)
    return order


def _node(node: graph.Node, places: Sequence[int], all_steps: Sequence[StepDiff], words: Mapping[str, str]) -> GraphNode:
    steps = [all_steps[no] for no in places]
    kinds = [step.kind for step in steps]
    kind = next(loud for loud in LOUDEST_FIRST if loud in kinds)
    alone = len(steps) == 1
    word = words[kind] if alone else _tally(kinds, words)
    box = (node.x, node.y, node.width, node.height)
    url = "#steps-title" if kind == "same" else f"#diff-{places[kinds.index(kind)]}"
    detail = "; ".join(f"{change.what} {change.old} → {change.new}"[:200] for change in steps[0].changes) if alone else ""
    return GraphNode(node.name, node.label, kind, word, url, *box, not alone, False, detail=detail)


def _summary(steps: Sequence[StepDiff], words: Mapping[str, str]) -> str:
    return f"{plural(len(steps), 'step')}: {_tally([step.kind for step in steps], words)}"


def _tally(kinds: Sequence[str], words: Mapping[str, str]) -> str:
    return ", ".join(f"{kinds.count(kind)} {words[kind].lower()}" for kind in LOUDEST_FIRST if kind in kinds)
