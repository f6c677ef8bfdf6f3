"""What one engine counts of its own work: round trips, their sizes and times, leases lost, duties that were not in time. It writes them with its heartbeat.

Everything is counted per round trip, never per step. Metrics read what stands in the database; nothing is lost when an engine is not scraped itself.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic, perf_counter
from typing import Any, Final

from engine.hiding.masking import clean_message

SIZES: Final = (1, 2, 5, 10, 25, 50, 100, 200, 300)
TOLD_BYTES: Final = 1_000
TOLD_SECONDS: Final = 360.0
"""So long it is told what made a step go back: longer than until the next one can, as a store is offered a result for five minutes first."""
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Histogram:
    """How many values were up to each limit, and their sum. Its owner sees to it that one thread at a time notes."""

    __slots__ = ("counts", "limits", "sum")

    def __init__(self, limits: Sequence[float]) -> None:
        self.limits = limits
        self.counts = [0] * (len(limits) + 1)
        self.sum = 0.0

    def note(self, value: float) -> None:
        """One more value."""
        self.counts[bisect_left(self.limits, value)] += 1
        self.sum += value

    def written(self) -> dict[str, Any]:
        """As JSON: the counts of each bin, the last one beyond every limit, and the sum."""
        return {"bins": list(self.counts), "sum": round(self.sum, 6)}


class CallTimes:
    """How long the calls of a database took that many threads make."""

    def __init__(self) -> None:
        self._book = threading.Lock()
        self._seconds = Histogram(SECONDS)

    def note(self, seconds: float) -> None:
        """One more."""
        with self._book:
            self._seconds.note(seconds)

    def written(self) -> dict[str, Any]:
        """As the figures of an engine are."""
        with self._book:
            return self._seconds.written()


_duty: ContextVar[str | None] = ContextVar("tasker_duty", default=None)


class Figures:
    """The counters of one engine process, whatever number of workers it has after each other."""

    def __init__(self) -> None:
        self._book = threading.Lock()
        self._batches = Histogram(SIZES)
        self._calls: dict[str, Histogram] = {}
        self._lease_losses = 0
        self._late: Counter[str] = Counter()
        self._hindrances: dict[str, tuple[float, str]] = {}

    @contextmanager
    def call(self, name: str) -> Iterator[None]:
        """The block is one call of the database by that name, of which there are few; one that fails counts too."""
        began = perf_counter()
        try:
            yield
        finally:
            self.called(name, perf_counter() - began)

    def called(self, name: str, seconds: float) -> None:
        """A call of the database by that name took so long."""
        with self._book:
            self._calls.setdefault(name, Histogram(SECONDS)).note(seconds)

    @contextmanager
    def duty(self, name: str) -> Iterator[None]:
        """What this thread asks of the database within the block is a duty's, by its name."""
        token = _duty.set(name)
        try:
            yield
        finally:
            _duty.reset(token)

    def of_duty(self, seconds: float) -> None:
        """A call of the duties' connections took so long; it counts where a duty made it."""
        if name := _duty.get():
            self.called(name, seconds)

    def batch(self, size: int) -> None:
        """So many outcomes were reported together."""
        with self._book:
            self._batches.note(size)

    def lost_lease(self) -> None:
        """The engine's lease ran out while it lived."""
        self._lease_losses += 1

    def late(self, duty: str) -> None:
        """A duty was due while its last round was still under way."""
        with self._book:
            self._late[duty] += 1

    def hindered(self, kind: str, said: str) -> None:
        """Steps went back uncharged, or will, for a reason of that kind; of each the latest is told, for a while."""
        with self._book:
            self._hindrances[kind] = monotonic(), clean_message(said, TOLD_BYTES)

    def unhindered(self, kind: str) -> None:
        """That is over."""
        with self._book:
            self._hindrances.pop(kind, None)

    def written(self, *, running: int, listener_seconds: float | None, cluster: dict[str, Any] | None = None) -> dict[str, Any]:
        """All of it as JSON, with how many steps are in hand, how long the listener has heard nothing, how the cluster fares that runs the handlers, and why steps go back."""
        with self._book:
            return {
                "batches": self._batches.written(),
                "calls": {name: histogram.written() for name, histogram in self._calls.items()},
                "lease_losses": self._lease_losses,
                "late": dict(self._late),
                "running": running,
                "listener_seconds": listener_seconds,
                "cluster": cluster,
                "hindrances": [said for at, said in self._hindrances.values() if monotonic() - at < TOLD_SECONDS],
            }
