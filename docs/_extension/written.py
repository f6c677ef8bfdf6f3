"""Parts of the reference as Markdown, from the settings, the headers of SQL functions and the catalogue of events."""

import re
from pathlib import Path

from engine.events import CATALOGUE, COMMON_FIELDS, FIELDS
from engine.settings import VARIABLES

FUNCTIONS = Path(__file__).parents[2] / "sql" / "functions"
WORD = re.compile(r"(moves|locks|raises|events|returns|p_\w+|p(?:\\\\_\w+)+)\s+")
FOR_USERS = ("tasker_get_ready_steps", "tasker_update_step_status", "tasker_resolve_dependencies", "tasker_step_readiness")


def settings() -> str:
    """Every environment variable and what it means."""
    return table(("variable", "meaning"), [(f"`{name}`", meaning) for name, meaning in VARIABLES.items()])


def event_types() -> str:
    """Every type of event, when it comes and what it carries, and every field."""
    types = [(f"`{kind.name}`", kind.meaning, ", ".join(f"`{field}`" for field in kind.fields)) for kind in CATALOGUE]
    fields = [(f"`{name}`", meaning, "every event" if name in COMMON_FIELDS else "") for name, meaning in FIELDS.items()]
    return table(("event", "comes when", "fields beside the common ones"), types) + "\n## Fields\n\n" + table(("field", "meaning", "in"), fields)


def sql_functions() -> str:
    """Every function: its signature and what its header says; those that people call come first."""
    found = {file.stem: file.read_text() for file in sorted(FUNCTIONS.glob("*.sql"))}
    rest = [name for name in found if name not in FOR_USERS]
    parts = ["## For psql and programs\n", *(one(name, found[name]) for name in FOR_USERS)]
    return "\n".join([*parts, "## Behind the engine and the dashboard\n", *(one(name, found[name]) for name in rest)])


def one(name: str, text: str) -> str:
    """A function under its name, from the comment before `create`."""
    header, _, body = text.partition("create or replace")
    said = "\n".join(line.removeprefix("--") for line in header.splitlines() if line.startswith("--"))
    signature = re.split(r"\n\s*(?:language|stable|immutable|volatile|strict|as \$)", body)[0]
    shown = re.sub(r"\s+", " ", signature).strip()
    return f"### `{name}`\n\n{told(said.strip().removeprefix(f'{name}:'))}\n\n```text\n{shown}\n```\n"


def told(said: str) -> str:
    """The purpose as sentences, then what it moves, locks and raises as a list; two spaces part them in a header."""
    purpose: list[str] = []
    items: list[str] = []
    for piece in filter(None, (piece.strip() for piece in re.split(r"\n|\s{3,}", said))):
        if purpose and WORD.match(piece):
            items.append(WORD.sub(lambda word: f"- **{word[1]}** ", escaped(piece), count=1))
        else:
            into = items or purpose
            into[-1:] = [" ".join([*into[-1:], escaped(piece)])]
    return "\n".join([*purpose, "", *items])


def escaped(text: str) -> str:
    """The text as itself in Markdown."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", text)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table of Markdown."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
