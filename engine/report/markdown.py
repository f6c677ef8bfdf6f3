"""A report as Markdown: CommonMark with tables. Text from outside cannot become a heading, link, image, tag, list, table cell or fence."""

from __future__ import annotations

import re

from engine.report.document import Block, Data, Document, Facing, Line, Part, Picture, Piece, State, Table, Title, Words

_PLAIN = re.compile(r"[\w./:@,+=()#%&;!?' -]+\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_FENCES = re.compile(r"`{3,}")


def to_markdown(document: Document) -> str:
    """The text, ending with a line end."""
    return "\n\n".join(_piece(piece) for piece in document) + "\n"


def _piece(piece: Piece) -> str:
    if isinstance(piece, Title):
        return f"{'#' * piece.level} {_line(piece.line)}"
    if isinstance(piece, Words):
        return _line(piece.line)
    if isinstance(piece, Facing):
        return "\n".join(f"- **{name}:** {_line(line)}" for name, line in piece.pairs)
    if isinstance(piece, Picture):
        return ""
    return _table(piece) if isinstance(piece, Table) else _block(piece)


def _table(table: Table) -> str:
    rules = ("--:" if column in table.numbers else "---" for column in table.columns)
    rows = (tuple(_line(cell) for cell in row) for row in table.rows)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (table.columns, tuple(rules), *rows))


def _block(block: Block) -> str:
    # a fence is longer than any inside, so nothing inside can end it
    longest = max((len(found) for found in _FENCES.findall(block.text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{block.language}\n{_visible_lines(block.text)}\n{fence}"


def _line(line: Line) -> str:
    return "".join(_part(part) for part in line)


def _part(part: Part) -> str:
    if isinstance(part, State):
        return f"**{part.word.capitalize()}**"
    return _harmless(part.text) if isinstance(part, Data) else part


def _harmless(text: str) -> str:
    """As code where that is plain; else with every sign of punctuation as a number, which Markdown shows and never obeys."""
    text = _CONTROL.sub("\ufffd", " ".join(text.split()))
    if not text:
        return ""
    if _PLAIN.match(text):
        return f"`{text}`"
    return "".join(one if one.isalnum() or one == " " or ord(one) > 127 else f"&#{ord(one)};" for one in text)


def _visible_lines(text: str) -> str:
    return "\n".join(_CONTROL.sub("\ufffd", line.replace("\t", "    ")) for line in text.splitlines())
