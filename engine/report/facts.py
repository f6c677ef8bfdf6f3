"""What a report is about: a task with its steps, attempts, errors, results and what operators did, each up to a stated limit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from engine import queries
from engine.db import Database
from engine.rows import ActivityRow, StepRow, TaskDetail

MOVES = 50_000
RESULTS = 500
FAILURES = 500
TEXT = 4_000
"""Characters shown of one result, of the input and of a traceback."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A text, or the beginning of one that has `length` characters."""

    text: str
    length: int

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return len(self.text) == self.length


@dataclass(frozen=True, slots=True)
class Attempt:
    """One execution of a step; without `finished_at` it still runs."""

    number: int
    state: str
    started_at: datetime
    finished_at: datetime | None
    engine: str | None
    error: dict[str, object] | None

    @property
    def seconds(self) -> float:
        """How long it ran; 0 while it runs."""
        return (self.finished_at - self.started_at).total_seconds() if self.finished_at else 0.0


@dataclass(frozen=True, slots=True)
class StepFacts:
    """A step and its attempts, one that was handed back among them; `free_at` is when its last parent had ended, or the task could start."""

    row: StepRow
    attempts: tuple[Attempt, ...]
    free_at: datetime | None

    @property
    def waited_seconds(self) -> float | None:
        """From when it could run to its first start."""
        if not self.attempts or not self.free_at:
            return None
        return max((self.attempts[0].started_at - self.free_at).total_seconds(), 0.0)

    @property
    def was_retried(self) -> bool:
        """Whether it needed more than one attempt; one that was handed back is not charged, and goes by the same number again."""
        return len({attempt.number for attempt in self.attempts}) > 1

    @property
    def ran_seconds(self) -> float | None:
        """All attempts together."""
        return sum(attempt.seconds for attempt in self.attempts) if self.attempts else None

    @property
    def paused_seconds(self) -> float | None:
        """Between its attempts: back-off, and failed until somebody let it try again."""
        pairs = zip(self.attempts, self.attempts[1:], strict=False)
        gaps = [(later.started_at - earlier.finished_at).total_seconds() for earlier, later in pairs if earlier.finished_at]
        return sum(gaps) if gaps else None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything a report tells. `moves` are the newest MOVES of the history, oldest first."""

    detail: TaskDetail
    steps: tuple[StepFacts, ...]
    moves: tuple[ActivityRow, ...]
    context: Cut
    results: tuple[tuple[str, Cut], ...]
    result_count: int
    path: tuple[StepFacts, ...]
    read_at: datetime

    @property
    def actions(self) -> list[ActivityRow]:
        """What people did."""
        return [move for move in self.moves if move.actor]

    @property
    def engines(self) -> list[str]:
        """Who ran attempts, in order of appearance."""
        return list(dict.fromkeys(move.engine for move in self.moves if move.engine and move.to_state == "running"))

    @property
    def failures(self) -> list[tuple[StepFacts, Attempt]]:
        """Every attempt that ended with an error, in order of time."""
        found = [(step, attempt) for step in self.steps for attempt in step.attempts if attempt.error and attempt.finished_at]
        return sorted(found, key=lambda each: each[1].started_at)


def read_facts(db: Database, task_id: str) -> Facts:
    """The facts as they are now; a task that still runs may move on while they are read. Raises `NotFound`."""
    detail = queries.task(db, task_id)
    moves = tuple(reversed(queries.activity(db, task_id, limit=MOVES)))
    steps = _with_attempts(detail, moves)
    context = json.dumps(detail.context, indent=2, ensure_ascii=False)
    results, result_count = _results(db, detail.task.task_id)
    return Facts(detail, steps, moves, Cut(context[:TEXT], len(context)), results, result_count, critical_path(steps), db.value("select tasker_clock()"))


def critical_path(steps: Sequence[StepFacts]) -> tuple[StepFacts, ...]:
    """The chain that the task's end had to wait for: from the step that ended last back to each one's parent that ended last."""
    by_name = {step.row.name: step for step in steps}
    path: list[StepFacts] = []
    here = max((step for step in steps if step.row.finished_at and step.attempts), key=_end, default=None)
    while here:
        path.append(here)
        parents = [by_name[name] for name in here.row.parents]
        here = max((parent for parent in parents if parent.row.finished_at), key=_end, default=None)
    return tuple(reversed(path))


def _end(step: StepFacts) -> datetime:
    assert step.row.finished_at is not None
    return step.row.finished_at


def _with_attempts(detail: TaskDetail, moves: Sequence[ActivityRow]) -> tuple[StepFacts, ...]:
    attempts = _attempts(moves)
    ended = {step.name: step.finished_at for step in detail.steps}
    begin = max(filter(None, (detail.task.created_at, detail.task.run_at)))
    return tuple(
        StepFacts(step, tuple(attempts.get(step.name, ())), _free_at(begin, [ended[name] for name in step.parents])) for step in detail.steps
    )


def _free_at(begin: datetime, parents: list[datetime | None]) -> datetime | None:
    return max([begin, *(at for at in parents if at)]) if all(parents) else None


def _attempts(moves: Sequence[ActivityRow]) -> dict[str, list[Attempt]]:
    found: dict[str, list[Attempt]] = {}
    for move in moves:
        if move.step_name is None or move.attempt is None or move.from_state == move.to_state:
            continue
        mine = found.setdefault(move.step_name, [])
        if move.to_state == "running" and mine and mine[-1].number == move.attempt and mine[-1].state == "running":
            continue  # a map step whose items are done; it has been at work all the time
        if move.to_state == "running":
            mine.append(Attempt(move.attempt, "running", move.at, None, move.engine, None))
        elif mine and mine[-1].number == move.attempt:
            begun = mine[-1]
            mine[-1] = Attempt(begun.number, move.to_state, begun.started_at, move.at, begun.engine, _error(move))
    return found


def _error(move: ActivityRow) -> dict[str, object] | None:
    return dict(move.error) if move.error and move.error.get("type") else None


def _results(db: Database, task_id: str) -> tuple[tuple[tuple[str, Cut], ...], int]:
    found = db.rows(
        """
        select s.name, count(*) over () from tasker_steps s
         where s.task_id = %(id)s and s.state in ('completed', 'resolved') and s.result is not null and s.result <> 'null'
         order by s.step_no limit %(limit)s
        """,
        {"id": task_id, "limit": RESULTS},
    )
    results = queries.results(db, task_id, [name for name, _ in found]) if found else {}
    texts = {name: json.dumps(results[name], indent=4, ensure_ascii=False) for name, _ in found if name in results}
    return tuple((name, Cut(text[:TEXT], len(text))) for name, text in texts.items()), found[0][1] if found else 0
