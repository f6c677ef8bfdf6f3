"""The chart of the throughputs: an SVG with a panel for each workload, a bar for each peer, on a scale of powers of ten."""

from __future__ import annotations

import math
from html import escape

from benchmarks.figures import Spread, number

LEFT, RIGHT, ROW, HEAD, GAP = 130, 110, 24, 34, 18
WIDTH = 760
OWN, OTHER = "#1f6feb", "#8b949e"
Panel = tuple[str, list[tuple[str, Spread | None]]]


def svg(panels: list[Panel], own: str) -> str:
    """The whole picture; a peer without a figure has its row and the word `none`."""
    limits = _limits(panels)
    height = GAP + sum(HEAD + ROW * len(rows) + GAP for _, rows in panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" font-family="system-ui, sans-serif" font-size="13">',
        "<title>Steps per second of each engine, on a logarithmic scale</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    top = GAP
    for title, rows in panels:
        parts += _panel(title, rows, top, limits, own)
        top += HEAD + ROW * len(rows) + GAP
    return "\n".join([*parts, "</svg>"]) + "\n"


def _limits(panels: list[Panel]) -> tuple[int, int]:
    """The powers of ten that hold every figure."""
    there = [value for _, rows in panels for _, found in rows if found for value in (found.least, found.most)]
    if not there:
        return 0, 1
    low = math.floor(math.log10(min(there)))
    return low, max(low + 1, math.ceil(math.log10(max(there))))


def _panel(title: str, rows: list[tuple[str, Spread | None]], top: int, limits: tuple[int, int], own: str) -> list[str]:
    parts = [f'<text x="{LEFT}" y="{top + 12}" font-weight="600" fill="#1f2328">{escape(title)}, steps/s</text>']
    bottom = top + HEAD + ROW * len(rows) - 6
    for power in range(limits[0], limits[1] + 1):
        x = _x(10.0**power, limits)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top + HEAD - 6}" y2="{bottom}" stroke="#d0d7de"/>')
        parts.append(f'<text x="{x:.1f}" y="{top + HEAD - 9}" text-anchor="middle" font-size="10" fill="#59636e">{10.0**power:,g}</text>')
    for place, (name, found) in enumerate(rows):
        parts += _row(name, found, top + HEAD + ROW * place, limits, OWN if name == own else OTHER)
    return parts


def _row(name: str, found: Spread | None, top: int, limits: tuple[int, int], colour: str) -> list[str]:
    middle = top + 8
    parts = [f'<text x="{LEFT - 8}" y="{middle + 4}" text-anchor="end" fill="#1f2328">{escape(name)}</text>']
    if found is None:
        return [*parts, f'<text x="{LEFT + 4}" y="{middle + 4}" fill="#59636e">none</text>']
    end, least, most = (_x(value, limits) for value in (found.median, found.least, found.most))
    return [
        *parts,
        f'<rect x="{LEFT}" y="{top}" width="{max(1.0, end - LEFT):.1f}" height="16" rx="2" fill="{colour}"/>',
        f'<line x1="{least:.1f}" x2="{most:.1f}" y1="{middle}" y2="{middle}" stroke="#1f2328" stroke-width="2"/>',
        f'<text x="{max(end, most) + 6:.1f}" y="{middle + 4}" fill="#1f2328">{number(found.median)}</text>',
    ]


def _x(value: float, limits: tuple[int, int]) -> float:
    share = (math.log10(value) - limits[0]) / (limits[1] - limits[0])
    return LEFT + share * (WIDTH - LEFT - RIGHT)
