"""What a load costs one PostgreSQL, by a few lines of arithmetic: `engine.bench.cost` fits it to two of its loads and sets it beside the others.

A step costs the database a little for itself, and a share of a round trip: the statement, the commit, the wake-up. How many steps share one depends on the load. A
chain's steps come one after the other, so the chains that are begun together go through it together: one round trip claims their first steps, and
one more for each step reports all of them and brings the next ones. None carries more than `BATCH`. Steps are then added to what an engine at rest costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.worker import BATCH


@dataclass(frozen=True, slots=True)
class Load:
    """Chains of `length` steps, `steps_per_second` of them in all; those of `together_seconds` are begun together. None is as many as can be done."""

    steps_per_second: float | None
    length: int
    together_seconds: float
    batch: int = BATCH

    @property
    def round_trips(self) -> float:
        """How many there are per step."""
        if self.steps_per_second is None:
            return 1 / self.batch
        together = max(1.0, self.steps_per_second / self.length * self.together_seconds)
        return max((self.length + 1) / self.length / together, 1 / self.batch)


@dataclass(frozen=True, slots=True)
class Costs:
    """Milliseconds of the database's processor per step and per round trip, bytes of write-ahead log per step, and the part of a core that rest takes."""

    step_ms: float
    trip_ms: float
    wal_bytes: float
    rest: float

    def database_ms(self, load: Load) -> float:
        """Per step."""
        return self.step_ms + self.trip_ms * load.round_trips

    def cores(self, load: Load) -> float:
        """How much of the database's processors a load takes, rest included; one whole for a load without limit."""
        return 1.0 if load.steps_per_second is None else self.rest + load.steps_per_second * self.database_ms(load) / 1000

    def carried(self, length: int, cores: float = 1.0) -> float:
        """Steps per second that a PostgreSQL with so many cores carries at most."""
        return (cores - self.rest) * 1000 / self.database_ms(Load(None, length, 0.0))


def fitted(lonely: Mapping[str, float], flood: Mapping[str, float], rest: float) -> Costs:
    """From what was measured per step (`database_ms`, `round_trips`, `wal_bytes`) under a load that shares no round trip, and under one without limit.

    The write-ahead log is that of the flood alone: it follows the steps, and under a small load other things outweigh it.
    """
    trip_ms = (lonely["database_ms"] - flood["database_ms"]) / (lonely["round_trips"] - flood["round_trips"])
    return Costs(flood["database_ms"] - trip_ms * flood["round_trips"], trip_ms, flood["wal_bytes"], rest)
