"""How much each measurement does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """`w1` to `w3` are numbers of tasks, the backlogs and task sizes are steps."""

    floor_steps: int
    floor_commits: int
    w1: int
    w2: int
    w3: int
    hops: int
    submits: int
    created: int
    backlogs: tuple[int, ...]
    claims: int
    task_steps: tuple[int, ...]


FULL = Sizes(100_000, 1_000, 2_000, 1_000, 1, 20, 100, 2_000, (1_000, 100_000, 1_000_000), 200, (10, 100, 1_000, 10_000))
QUICK = Sizes(20_000, 200, 300, 150, 1, 5, 20, 300, (1_000, 20_000), 50, (10, 100, 1_000))
