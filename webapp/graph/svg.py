"""A picture as a file of its own, for `tasker graph --svg`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from webapp.graph.net import TooTangled
from webapp.graph.pictures import Node, layout


def standalone_svg(
    names: Sequence[str], parents: Sequence[Sequence[int]], states: Mapping[str, str], kinds: Mapping[str, str] | None = None
) -> str:
    """The whole picture as an SVG file of its own; each box tells its step's state by word and colour if it has one.

    `kinds` names the decisions and map steps, which are marked; a state may have more words behind its first, such as `pending 3/50`. Raises `TooTangled`.
    """
    return _svg(names, parents, states, kinds or {}, 'xmlns="http://www.w3.org/2000/svg"', f"<style>{_SVG_STYLE}</style>\n")


def page_svg(names: Sequence[str], parents: Sequence[Sequence[int]], states: Mapping[str, str], kinds: Mapping[str, str]) -> str | None:
    """The same picture to stand in a page that has the style of its classes; None for what is too tangled to draw."""
    try:
        return _svg(names, parents, states, kinds, 'class="graph"', "")
    except TooTangled:
        return None


def _svg(names: Sequence[str], parents: Sequence[Sequence[int]], states: Mapping[str, str], kinds: Mapping[str, str], own: str, style: str) -> str:
    drawn = layout(names, parents)
    size = f'width="{drawn.width}" height="{drawn.height}" viewBox="0 0 {drawn.width} {drawn.height}"'
    lines = "".join(f'<path class="edge" d="{edge.path}" marker-end="url(#tip)"/>\n' for edge in drawn.edges)
    boxes = "".join(_svg_box(node, states.get(node.name, ""), kinds.get(node.name, "step")) for node in drawn.nodes)
    head = f'<svg {own} {size} role="img">\n{style}{_SVG_TIP}\n'
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
