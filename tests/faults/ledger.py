"""What really ran, by the word of the handlers alone."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

Place = tuple[str, str]
"""Task id and step name."""


@dataclass(slots=True)
class Run:
    """One execution of a step: monotonic times in seconds (end is None where its process did not live to note it), and the wall clock at its start."""

    task: str
    step: str
    attempt: int
    engine: str
    pid: int
    start: float
    wall: float
    end: float | None = None


class Ledger:
    """The handlers' file, read on from where the last look ended."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.runs: dict[Place, list[Run]] = defaultdict(list)
        self._open: set[int] = set()
        self._all: list[Run] = []
        self._read = 0
        self._book = threading.Lock()

    def all(self) -> list[Run]:
        """Every execution so far, in order of their starts."""
        self._look()
        return self._all

    def by_place(self) -> dict[Place, list[Run]]:
        """Every execution so far by its place, in order of their starts."""
        self._look()
        return self.runs

    def running(self, engine: str | None = None) -> list[Run]:
        """The executions that are under way, on one engine or on all: begun, not ended, and their process lives."""
        self._look()
        begun = [run for run in map(self._all.__getitem__, sorted(self._open)) if engine in (None, run.engine)]
        return [run for run in begun if Path(f"/proc/{run.pid}").exists()]

    def _look(self) -> None:
        with self._book:
            if not self.file.exists():
                return
            with self.file.open("rb") as source:
                source.seek(self._read)
                data = source.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._read += len(whole)
            for line in whole.decode().splitlines():
                self._take(line.split(" "))

    def _take(self, facts: list[str]) -> None:
        # a handler that was killed in the middle of a line leaves a part of one
        if len(facts) != 8:
            return
        kind, task, step, attempt, engine, pid, at, wall = facts
        if kind == "start":
            run = Run(task, step, int(attempt), engine, int(pid), int(at) / 1e9, int(wall) / 1e9)
            self._open.add(len(self._all))
            self._all.append(run)
            self.runs[task, step].append(run)
        else:
            place = next(no for no in sorted(self._open, reverse=True) if self._is(self._all[no], task, step, int(attempt), int(pid)))
            self._all[place].end = int(at) / 1e9
            self._open.discard(place)

    @staticmethod
    def _is(run: Run, task: str, step: str, attempt: int, pid: int) -> bool:
        return (run.task, run.step, run.attempt, run.pid) == (task, step, attempt, pid)
