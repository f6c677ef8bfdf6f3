"""What a run says of speed: how soon steps of a dead engine run elsewhere, how long a drain takes, when work goes on after a crash, how late events are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import faults
from arena import Arena, FaultRecord
from checker import RUNNING, Evidence, Move
from ledger import Place, Run


def figures(arena: Arena, evidence: Evidence) -> dict[str, Any]:
    """Each figure in seconds, with how often it was taken; None where it never was."""
    of_kind = lambda kind: [fault for fault in arena.faults if fault.kind == kind and fault.ended]  # noqa: E731
    runs = [(fault, evidence.runs) for fault in of_kind(faults.KILL)]
    return {
        "killed_engine_to_rescue": quantiles(wait for fault in of_kind(faults.KILL) for wait in rescues(fault, evidence, arena.wall)),
        "killed_engine_to_next_start": quantiles(wait for fault, known in runs for wait in next_starts(fault, known)),
        "drain": quantiles(fault.ended - fault.began for fault in of_kind(faults.DRAIN)),
        "server_back_to_first_claim": quantiles(first_claims(of_kind(faults.RESTART), evidence.records.moves, arena.wall)),
        "longest_blocked_call": round(arena.longest_call(), 2),
        "event_delay": quantiles(event_delays(Path(f"{arena.ledger.file}.heard"), evidence.records.moves)),
        "event_delay_without_notify": quantiles(event_delays(Path(f"{arena.ledger.file}.heard"), within(of_kind(faults.DEAF), evidence.records.moves, arena.wall))),
    }


def quantiles(values: Iterable[float]) -> dict[str, float] | None:
    """The median, the 99th percentile, the largest, and of how many."""
    found = sorted(values)
    if not found:
        return None
    return {"p50": round(found[len(found) // 2], 3), "p99": round(found[int(len(found) * 0.99)], 3), "max": round(found[-1], 3), "of": len(found)}


def rescues(fault: FaultRecord, evidence: Evidence, wall: float) -> list[float]:
    """From the kill to the moment from which others may run it, of every execution that was under way on that engine."""
    moves = evidence.records.of_steps()
    cut_short = [place for place, of_step in evidence.runs.items() for run in of_step if is_cut_short(run, fault)]
    first = (next((move.at - wall - fault.began for move in moves[place] if move.rescued and move.at - wall > fault.began), None) for place in cut_short)
    return [wait for wait in first if wait is not None]


def is_cut_short(run: Run, fault: FaultRecord) -> bool:
    """Whether it was under way there; its process may have come to its end, with nobody left to report it."""
    return run.engine == fault.target and run.start <= fault.began + 0.1 and (run.end is None or run.end > fault.began)


def next_starts(fault: FaultRecord, runs: dict[Place, list[Run]]) -> list[float]:
    """The same to the next start, which comes later when others stand in the queue before it."""
    waits = []
    for of_step in runs.values():
        for run, later in pairwise(of_step):
            if is_cut_short(run, fault) and later.start > fault.began:
                waits.append(later.start - fault.began)
    return waits


def first_claims(restarts: Sequence[FaultRecord], moves: Sequence[Move], wall: float) -> list[float]:
    """From the moment at which the server accepts connections again to the first step that starts on record."""
    claims = [move.at for move in moves if move.step is not None and move.to_state == RUNNING]
    return [min(later) - (fault.ended + wall) for fault in restarts if (later := [at for at in claims if at > fault.ended + wall])]


def within(windows: Sequence[FaultRecord], moves: Sequence[Move], wall: float) -> list[Move]:
    return [move for move in moves if any(window.began <= move.at - wall <= window.ended for window in windows)]


def event_delays(heard: Path, moves: Sequence[Move]) -> list[float]:
    """From each move to the moment at which the subscriber was told of it first."""
    if not heard.exists():
        return []
    told: dict[int, float] = {}
    for line in heard.read_text().splitlines():
        event_id, _, _, at = line.split(" ")
        told.setdefault(int(event_id), int(at) / 1e9)
    return [told[2 * move.event_id] - move.at for move in moves if 2 * move.event_id in told]
