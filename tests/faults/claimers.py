"""Claimers of a whole fleet of engines without its processes: each is a session that claims, works for some milliseconds, notes that in the ledger and reports."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from typing import Any

import psycopg
from arena import CONCURRENCY, POLL_SECONDS, Arena, Beside

from engine import leases
from engine.db import connect, is_conflict

WORK_SECONDS = 0.02
LEASE = timedelta(minutes=10)
Held = tuple[int, int, int, int]
"""task_no, step_no, definition_id and attempt."""


@contextmanager
def claimers(arena: Arena, how_many: int, flows: Sequence[str]) -> Iterator[None]:
    """So many work on the tasks of these workflows that are there now, for the length of the block; none of them leaves anything undone."""
    over, book = threading.Event(), Book(arena, flows)
    at_work = [Beside(_work, arena, f"claimer-{number}", book, over) for number in range(how_many)]
    try:
        yield
    finally:
        over.set()
        for claimer in at_work:
            claimer.end()


class Book:
    """What the database's numbers stand for, and where claimers note what they do, as handlers do."""

    def __init__(self, arena: Arena, flows: Sequence[str]) -> None:
        self._file, self._wall = arena.ledger.file, int(arena.wall * 1e9)
        with arena.direct() as conn:
            self.definitions = [row[0] for row in conn.execute("select definition_id from tasker_definition where name = any(%s) and namespace = 'faults'", [list(flows)]).fetchall()]
            self._tasks = dict(conn.execute("select task_no, task_id::text from tasker_task where definition_id = any(%s)", [self.definitions]).fetchall())
            names = conn.execute("select definition_id, step_no, name from tasker_template where definition_id = any(%s)", [self.definitions]).fetchall()
        self._steps = {(definition, step): name for definition, step, name in names}

    def note(self, kind: str, who: str, held: Sequence[Held]) -> None:
        """It outlives what becomes of the claimer; the machine is not to fail here."""
        now = time.monotonic_ns()
        lines = [f"{kind} {self._tasks[task]} {self._steps[definition, step]} {attempt} {who} {os.getpid()} {now} {now + self._wall}\n" for task, step, definition, attempt in held]
        with self._file.open("a") as ledger:
            ledger.write("".join(lines))


def _work(arena: Arena, who: str, book: Book, over: threading.Event) -> None:
    with connect(arena.server.url, application_name="faults claimer", options=leases.SESSION) as connection:
        worker = _signed_on(connection, who, book)
        held: list[Held] = []
        for claim_no in count(1):
            if over.is_set() and not held:
                break
            held = _turn(connection, worker, claim_no, held, book, 0 if over.is_set() else CONCURRENCY)
            if not held:
                over.wait(POLL_SECONDS)
            book.note("start", who, held)
            time.sleep(WORK_SECONDS if held else 0)
            book.note("end", who, held)
        leases.retire_worker(connection, worker)


def _signed_on(connection: psycopg.Connection[Any], who: str, book: Book) -> leases.WorkerIdentity:
    """A worker whose lease runs, also where somebody found its lock free a moment ago and took it for dead."""
    while True:
        worker = leases.register_worker(connection, name=who, runner="none", concurrency=CONCURRENCY, definitions=book.definitions, lease=LEASE)
        leases.lock_worker(connection, worker.worker_id)
        if leases.heartbeat(connection, worker, definitions=book.definitions, draining=False):
            return worker


def _turn(connection: psycopg.Connection[Any], worker: leases.WorkerIdentity, claim_no: int, held: Sequence[Held], book: Book, want: int) -> list[Held]:
    """What was held is reported, and the next steps are claimed; a deadlock is tried again."""
    done = sorted((task, step, attempt, '"done"') for task, step, _, attempt in held)
    definitions = leases.literal(book.definitions) if want else None
    while True:
        try:
            return leases.complete_and_claim(connection, worker, claim_no=claim_no, done=done, want=want, definitions=definitions, closed_claims=(claim_no - 1,))
        except psycopg.Error as error:
            if not is_conflict(error):
                raise
