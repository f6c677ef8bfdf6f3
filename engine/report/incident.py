"""The incident file of a task: its report with the graph, every attempt, what was logged and every move, as one HTML page that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence

from engine import queries
from engine.db import Database
from engine.report.document import (
    STEPS,
    Data,
    Line,
    Picture,
    Piece,
    State,
    Table,
    Title,
    Words,
    clock,
    document,
    length,
    one_line,
    plain,
)
from engine.report.facts import Attempt, Facts, StepFacts, read_facts
from engine.report.page import to_page
from engine.rows import ActivityRow, LineRow

LINES = 1_000


def incident_report(db: Database, task_id: str, *, picture: str | None = None) -> str:
    """The page, secrets masked as everywhere; `picture` is the graph as SVG markup of ours. Each list ends at a stated limit. Raises `NotFound`."""
    facts = read_facts(db, task_id)
    lines = queries.lines(db, task_id, limit=LINES)
    title, outcome, *rest, ending = document(facts)
    drawn: list[Piece] = [Title(("Graph",)), Picture(picture)] if picture else []
    return to_page((title, outcome, *drawn, *rest, *_attempts(facts), *_log(lines.items, is_whole=lines.earlier is None), *_history(facts.moves), ending))


def _attempts(facts: Facts) -> list[Piece]:
    found = [(step, attempt) for step in facts.steps for attempt in step.attempts]
    columns = ("Step", "Attempt", "Ended", "Started", "Took", "Engine", "Error")
    rows = tuple(_attempt(step, attempt) for step, attempt in found[:STEPS])
    return _listed("Attempts", Table(columns, rows, frozenset({"Attempt", "Took"})), f"The first {STEPS:,} of {len(found):,}." if len(found) > STEPS else "")


def _attempt(step: StepFacts, attempt: Attempt) -> tuple[Line, ...]:
    error = attempt.error or {}
    said = ": ".join(one_line(error[name]) for name in ("type", "message") if error.get(name))
    took = length(attempt.seconds) if attempt.finished_at else ""
    return ((Data(step.row.name),), (str(attempt.number),), (State(attempt.state),), (clock(attempt.started_at),), (took,), (Data(attempt.engine or ""),), (Data(said),))


def _log(lines: Sequence[LineRow], *, is_whole: bool) -> list[Piece]:
    rows = tuple(_line(line) for line in lines)
    return _listed("Log", Table(("When", "Step", "Attempt", "Level", "Message"), rows, frozenset({"Attempt"})), "" if is_whole else f"The newest {LINES:,} lines.")


def _line(line: LineRow) -> tuple[Line, ...]:
    fields = f" {json.dumps(line.fields, ensure_ascii=False, default=str)}" if line.fields else ""
    return ((clock(line.at),), (Data(line.step_name),), (str(line.attempt),), (line.level,), (Data(one_line(f"{line.message}{fields}", most=2_000)),))


def _history(moves: Sequence[ActivityRow]) -> list[Piece]:
    columns = ("When", "Of what", "Move", "Attempt", "Engine", "Who", "Why")
    rows = tuple(_move(move) for move in moves[-STEPS:])
    return _listed("History", Table(columns, rows, frozenset({"Attempt"})), f"The newest {STEPS:,} moves." if len(moves) > STEPS else "")


def _move(move: ActivityRow) -> tuple[Line, ...]:
    what: Line = ("note",) if move.from_state == move.to_state else (f"{move.from_state or 'made'} → ", State(move.to_state))
    texts = [(Data(one_line(text)),) for text in (move.engine, move.actor, move.reason)]
    return ((clock(move.at),), (Data(move.step_name or "the task"),), what, (plain(move.attempt),), *texts)


def _listed(title: str, table: Table, note: str) -> list[Piece]:
    return [Title((title,)), table, *([Words((note,))] if note else [])] if table.rows else []
