"""The code blocks of a page, in order, with what the comments above them say about how they are tried.

`<!-- file: flows/orders.py -->` stores the block under that name first; `<!-- file: flows/orders.py from README.md -->` stores that page's block.
`<!-- run -->` above a block for the shell runs it, with names of the page in capitals put in; `<!-- fails: TEXT -->` runs it, and it ends with status 1 and says that.
`<!-- not run: REASON -->` leaves the block at a look at its syntax; there may be few of them.
`<!-- python` … `-->` is code between the blocks that readers need not see: what a block takes for granted, or what must be true after it.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_PIECE = re.compile(
    r"^(?P<indent>[ ]*)(?P<fence>`{3,})(?P<language>[^\n`]*)\n(?P<code>.*?)^(?P=indent)(?P=fence)[ ]*$|^<!--(?P<comment>.*?)-->[ ]*$",
    re.DOTALL | re.MULTILINE,
)
_WORD = re.compile(r"\s*(file|run|fails|not run|python)\b:?[ ]*(.*)\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """Code of a page; `file`, `run`, `fails` and `not_run` are what the comment above it says, None where it says nothing."""

    page: str
    line: int
    language: str
    code: str
    file: str | None = None
    run: str | None = None
    fails: str | None = None
    not_run: str | None = None
    hidden: bool = False

    @property
    def place(self) -> str:
        """Where it stands."""
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Every block of the page, hidden code included."""
    name, text = str(page.relative_to(ROOT)), page.read_text("utf-8")
    found: list[Block] = []
    said: dict[str, str] = {}
    for piece in _PIECE.finditer(text):
        line = text.count("\n", 0, piece.start()) + 1
        if piece["comment"] is None:
            code = textwrap.dedent(piece["code"])
            found.append(Block(name, line, piece["language"].strip(), code, said.get("file"), said.get("run"), said.get("fails"), said.get("not run")))
            said = {}
            continue
        word = _WORD.match(piece["comment"])
        if word is None:
            continue
        if word[1] == "python":
            found.append(Block(name, line, "python", textwrap.dedent(word[2].lstrip("\n")), hidden=True))
        elif " from " in word[2]:
            found.append(_borrowed(name, line, *word[2].strip().split(" from ")))
        else:
            said[word[1]] = word[2].strip()
    return found


def _borrowed(page: str, line: int, file: str, other: str) -> Block:
    """The block of another page that is stored under that name."""
    lent = next(block for block in blocks(ROOT / other) if block.file == file and not block.hidden)
    return Block(page, line, lent.language, lent.code, file, hidden=True)


def inline_commands(page: Path) -> list[tuple[str, str]]:
    """Every `tasker …` within a sentence or table, with its place."""
    text = page.read_text("utf-8")
    without = _PIECE.sub(lambda piece: "\n" * piece[0].count("\n"), text)
    name = page.relative_to(ROOT)
    return [(f"{name}:{without.count(chr(10), 0, code.start()) + 1}", code[1].replace("\n", " ")) for code in re.finditer(r"`(tasker [^`]+)`", without)]
