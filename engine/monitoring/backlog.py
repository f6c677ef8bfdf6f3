"""What attempts have said and the database does not know yet. Runners fill it at any time; a duty of the engine's loop empties it, twice a second.

It never makes a runner wait: while the database is away the oldest lines go, and are counted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import Connection

from engine import json_text, leases
from engine.journal import LEVELS, Line, Progress, Said
from engine.leases import Held
from engine.runners import StepCall

log = logging.getLogger("tasker.engine")

MOST_LINES: Final = 20_000
MOST_BYTES: Final = 32 << 20
BATCH_LINES: Final = 2_000


@dataclass(frozen=True, slots=True)
class _Batch:
    """What is sent in one statement, again and again under one number until the database has answered."""

    number: int
    lines: Sequence[tuple[Held, Line]]
    progress: dict[Held, Progress]


class Backlog:
    """Lines in their order, and of each attempt the newest progress."""

    def __init__(self) -> None:
        self._lines: deque[tuple[Held, Line]] = deque()
        self._bytes = 0
        self._lost: Counter[Held] = Counter()
        self._progress: dict[Held, Progress] = {}
        self._batch: _Batch | None = None
        self._number = 0
        self._book = threading.Lock()
        self._writing = threading.Lock()

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return bool(self._lines or self._progress or self._lost or self._batch)

    def hear(self, call: StepCall, said: Said) -> None:
        """Takes it in."""
        held = call.task.task_id, call.step_no, call.attempt
        with self._book:
            if isinstance(said, Line):
                self._add(held, said)
            elif held not in self._progress or self._progress[held].at <= said.at:
                self._progress[held] = said

    def write(self, connection: Connection[Any], who: leases.WorkerIdentity) -> bool:
        """Everything said so far is on record; whether there was anything. Raises psycopg errors, and then it is all still here."""
        wrote = False
        with self._writing:
            while batch := self._next():
                self._send(connection, who, batch)
                self._batch = None
                wrote = True
        return wrote

    def _add(self, held: Held, line: Line) -> None:
        self._lines.append((held, line))
        self._bytes += _size(line)
        while len(self._lines) > MOST_LINES or self._bytes > MOST_BYTES:
            lost, oldest = self._lines.popleft()
            self._bytes -= _size(oldest)
            self._lost[lost] += 1

    def _next(self) -> _Batch | None:
        if self._batch is None and self:
            with self._book:
                taken = [self._lines.popleft() for _ in range(min(len(self._lines), BATCH_LINES))]
                self._bytes -= sum(_size(line) for _, line in taken)
                lost, self._lost = self._lost, Counter()
                progress, self._progress = self._progress, {}
            self._number += 1
            self._batch = _Batch(self._number, [*_notices(lost), *taken], progress)
        return self._batch

    def _send(self, connection: Connection[Any], who: leases.WorkerIdentity, batch: _Batch) -> None:
        held = list(dict.fromkeys([*(one for one, _ in batch.lines), *batch.progress]))
        places, now = {one: place for place, one in enumerate(held, 1)}, time.monotonic()
        lines = ",".join(_line_json(places[one], line, now) for one, line in batch.lines)
        progress = ",".join(_progress_json(places[one], told, now) for one, told in batch.progress.items())
        try:
            leases.keep_journal(connection, who, batch.number, held, f"[{lines}]", f"[{progress}]")
        except psycopg.DataError as error:
            log.error("the database refuses %d lines of handlers' logs, which are lost: %s", len(batch.lines), error)


def _notices(lost: Counter[Held]) -> list[tuple[Held, Line]]:
    now = time.monotonic()
    words = "\u2026 {:,} lines before this were lost: the database was away for too long"
    return [(held, Line(now, LEVELS["warning"], words.format(count), None)) for held, count in lost.items()]


def _size(line: Line) -> int:
    return len(line.message) + len(line.fields or "")


def _line_json(place: int, line: Line, now: float) -> str:
    return f"[{place},{now - line.at:.6f},{line.level},{json_text.dump(line.message)},{line.fields or 'null'}]"


def _progress_json(place: int, told: Progress, now: float) -> str:
    return json_text.dump([place, round(now - told.at, 6), told.done, told.total, told.note])
