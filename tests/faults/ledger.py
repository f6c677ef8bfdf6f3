"""What really ran, by the word of the handlers alone."""

from __future__ import annotations

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


def read(ledger: Path) -> dict[Place, list[Run]]:
    """Every execution by its place, in order of their starts. A last line that was cut off by a death is no line."""
    runs: dict[Place, list[Run]] = defaultdict(list)
    if not ledger.exists():
        return runs
    for line in ledger.read_text().splitlines():
        facts = line.split(" ")
        if len(facts) != 8:
            continue
        kind, task, step, attempt, engine, pid, at, wall = facts
        if kind == "start":
            runs[task, step].append(Run(task, step, int(attempt), engine, int(pid), int(at) / 1e9, int(wall) / 1e9))
        else:
            _open_run(runs[task, step], int(attempt), int(pid)).end = int(at) / 1e9
    return runs


def running(ledger: Path, engine: str | None = None) -> int:
    """How many executions have begun and not ended, on one engine or on all."""
    now_open = [run for found in read(ledger).values() for run in found if run.end is None]
    return sum(engine is None or run.engine == engine for run in now_open)


def _open_run(found: list[Run], attempt: int, pid: int) -> Run:
    return next(run for run in reversed(found) if run.attempt == attempt and run.pid == pid and run.end is None)
