"""A report as one HTML page that needs nothing else: its style is inside, it has no script, and it prints well."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from engine.report.document import Block, Data, Document, Facing, Line, Part, Picture, Piece, State, Table, Title, Words

ICONS = {
    "pending": "○", "ready": "◔", "running": "▶", "retrying": "↻", "completed": "✓", "failed": "✕", "cancelled": "⊘", "skipped": "⇥", "resolved": "✎",
}

STYLE = """
:root { color-scheme: light dark; --ink: light-dark(#1d2129, #e9e8e3); --soft: light-dark(#565b66, #aaadb5); --paper: light-dark(#fdfcfa, #16181d);
  --shade: light-dark(#f1f0ec, #22252c); --line: light-dark(#dcdbd5, #3a3e47); --good: light-dark(#0a6347, #63c9a4); --bad: light-dark(#a52a12, #ff8f75);
  --busy: light-dark(#2750a8, #8db4ff); --late: light-dark(#7a5200, #efc15c); --calm: light-dark(#5a5568, #b7b1c6); }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: clamp(1rem, 4vw, 3rem); max-width: 75rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 ui-sans-serif, system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0 0 .5rem; font-size: 1.75rem; line-height: 1.2; }
h2 { margin: 2.5rem 0 .75rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); font-size: 1.2rem; }
h3 { margin: 1.5rem 0 .5rem; font-size: 1rem; }
h1 + p { font-size: 1.1rem; }
dl { display: grid; grid-template-columns: 11rem 1fr; gap: .35rem 1.5rem; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; white-space: nowrap; }
th { color: var(--soft); font-weight: 600; }
td:last-child { white-space: normal; min-width: 12rem; }
.number { padding-right: 1.25rem; text-align: right; }
pre { margin: .5rem 0; padding: .75rem 1rem; background: var(--shade); border-radius: 3px; font: .85rem/1.45 ui-monospace, monospace; white-space: pre-wrap; }
.state { font-weight: 600; white-space: nowrap; }
.completed, .resolved { color: var(--good); } .failed { color: var(--bad); } .running, .ready { color: var(--busy); } .retrying { color: var(--late); }
.pending, .skipped, .cancelled { color: var(--calm); }
.graph { display: block; font: 13px ui-sans-serif, system-ui, sans-serif; }
.graph .paper { fill: none; } .graph .box { fill: var(--paper); stroke: var(--soft); } .graph text { fill: var(--ink); } .graph .word { font-size: 11px; fill: var(--soft); }
.graph .edge { fill: none; stroke: var(--soft); stroke-width: 1.5; } .graph .band, .graph marker path { fill: var(--soft); }
.graph .completed .band, .graph .resolved .band { fill: var(--good); } .graph .failed .band { fill: var(--bad); } .graph .running .band, .graph .ready .band { fill: var(--busy); }
.graph .retrying .band { fill: var(--late); }
body > p:last-child { margin-top: 3rem; color: var(--soft); font-size: .85rem; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .6rem; } }
@media print { :root { color-scheme: light; } body { max-width: none; padding: 0; font-size: 10pt; } h2, h3 { break-after: avoid; } tr { break-inside: avoid; }
  .wide { overflow: visible; } table { font-size: 7.5pt; } th, td, td:last-child { min-width: 0; white-space: normal; } }
"""

# The page may use this style and nothing else, wherever it is opened.
POLICY = f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'"


def to_page(document: Document) -> str:
    """The whole page."""
    title = next(_plain(piece.line) for piece in document if isinstance(piece, Title))
    body = "\n".join(_piece(piece) for piece in document)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">\n<title>{escape(title)}</title>\n<style>{STYLE}</style>\n'
        f"</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _piece(piece: Piece) -> str:
    if isinstance(piece, Title):
        return f"<h{piece.level}>{_line(piece.line)}</h{piece.level}>"
    if isinstance(piece, Words):
        return f"<p>{_line(piece.line)}</p>"
    if isinstance(piece, Facing):
        return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{_line(line)}</dd>' for name, line in piece.pairs)}</dl>"
    if isinstance(piece, Picture):
        return f'<div class="wide" role="region" aria-label="Graph" tabindex="0">{piece.svg}</div>'
    return _table(piece) if isinstance(piece, Table) else _block(piece)


def _table(table: Table) -> str:
    kinds = [' class="number"' if column in table.numbers else "" for column in table.columns]
    head = "".join(f'<th scope="col"{kind}>{escape(column)}</th>' for column, kind in zip(table.columns, kinds, strict=True))
    rows = "\n".join(f"<tr>{''.join(f'<td{kind}>{_line(cell)}</td>' for cell, kind in zip(row, kinds, strict=True))}</tr>" for row in table.rows)
    return f'<div class="wide" role="region" aria-label="Table" tabindex="0"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>'


def _block(block: Block) -> str:
    return f"<pre><code>{_escaped(block.text)}</code></pre>"


def _line(line: Line) -> str:
    return "".join(_part(part) for part in line)


def _part(part: Part) -> str:
    if isinstance(part, State):
        return f'<span class="state {escape(part.word)}"><span aria-hidden="true">{ICONS.get(part.word, "")}</span> {escape(part.word.capitalize())}</span>'
    # isolated: what is written from right to left turns nothing around it
    return f"<bdi>{_escaped(part.text)}</bdi>" if isinstance(part, Data) else escape(part)


def _escaped(text: str) -> str:
    return escape(text.replace("\x00", "\ufffd"))


def _plain(line: Line) -> str:
    return "".join(part.text if isinstance(part, Data) else part if isinstance(part, str) else part.word for part in line)
