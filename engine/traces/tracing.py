"""Traces for an OpenTelemetry collector, where TASKER_TRACES is on: a trace per task, a span per attempt, told after they have ended.

They are read from the history, so nothing is added to the engine's own path, an attempt that died with its process has its span too, and a
collector that is away misses nothing. One engine of an installation tells at a time, by `engine.traces.tracing_process`. OpenTelemetry is imported there,
by `engine.traces.otlp`, and where handlers run, by `engine.attempt_spans`.
"""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, LiteralString

from engine.db import Database, OutageLog
from engine.errors import TaskerError
from engine.events import Horizon, newest_event
from engine.traces.endings import Endings
from engine.traces.span_bytes import span_bytes

if TYPE_CHECKING:
    from engine.traces.otlp import Collector, Untaken

log = logging.getLogger("tasker.traces")

NAME = "tasker.traces"
"""Of the place in the events that all engines share."""
LEASE = timedelta(seconds=15)
WINDOW = 1000
ROUND_SECONDS = 0.05
"""What one round may take, of each second, or one window: so a twentieth of a processor goes into traces, and under more load they come later."""
QUIET_SECONDS = 0.5
"""The same while the engine has nothing else to do."""
LAST_SECONDS = 2.0
FORGOTTEN = timedelta(hours=1)
"""When nothing was told for so long, traces were off, or there was nothing to tell."""
TRIES = 10
"""How often the collector may refuse a window until it is given up."""


def open_traces(place: Place) -> Traces:
    """What tells the collector, a share of the tasks where OpenTelemetry's variable says so."""
    from engine.traces.otlp import Collector

    return Traces(place, Collector(), share=_share(os.environ.get("OTEL_TRACES_SAMPLER_ARG", "")))


def _share(text: str) -> float:
    """Which part of the tasks is traced, from 0 to 1; all where nothing sensible was said."""
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 1.0


class Place:
    """Up to where all was told, which engines share; one `owner` at a time holds it, and tells."""

    def __init__(self, db: Database, owner: str = "") -> None:
        self.db = db
        self._owner = owner or str(uuid.uuid4())

    def begin(self) -> None:
        """What ends from now on is told, and what has ended since an engine last told something, unless that is long ago."""
        self.db.value("select tasker_subscribe(%(name)s, false)", {"name": NAME})
        query: LiteralString = "select coalesce(s.delivered_at, s.created_at) < tasker_clock() - %(long)s from tasker_subscription s where s.name = %(name)s"
        if self.db.value(query, {"name": NAME, "long": FORGOTTEN}) and (taken := self.take()):
            self.record(taken[0], newest_event(self.db), 0)

    def take(self) -> tuple[int, int] | None:
        """The fence, and the event up to which all was told; None while another holds the place."""
        query: LiteralString = "select fence, event_id from tasker_take_subscription(%(name)s, %(owner)s::uuid, %(lease)s)"
        found = self.db.rows(query, {"name": NAME, "owner": self._owner, "lease": LEASE})
        return (found[0][0], found[0][1]) if found else None

    def record(self, fence: int, event_id: int, delivered: int) -> bool:
        """All up to the event was told; not so where another has taken the place since."""
        query: LiteralString = "select tasker_record_delivery(%(name)s, %(fence)s, %(event)s, %(delivered)s)"
        return bool(self.db.value(query, {"name": NAME, "fence": fence, "event": event_id, "delivered": delivered}))

    def leave(self) -> None:
        """Another may take it at once."""
        self.db.value("select tasker_leave_subscriptions(%(owner)s::uuid)", {"owner": self._owner})


class Traces:
    """Tells the collector of what has ended, from where the last that did so has come."""

    def __init__(self, place: Place, collector: Collector, *, share: float = 1.0) -> None:
        self.place, self._db, self._collector = place, place.db, collector
        self._endings = Endings(place.db, share=share)
        self._horizon = Horizon()
        self._refusals = 0
        self._is_held_up = False
        self._outage = OutageLog(log, "the collector does not take the traces", "the collector takes the traces again")

    def tell_due(self, is_quiet: Callable[[], bool] = lambda: False) -> int:
        """How many spans were told; none while another does it. More in a round while it `is_quiet`. Raises `TaskerError` and psycopg's errors."""
        begun = time.monotonic()
        return self._tell_while(lambda: time.monotonic() - begun < (QUIET_SECONDS if is_quiet() else ROUND_SECONDS))

    def _tell_while(self, there_is_time: Callable[[], bool]) -> int:
        found = self.place.take()
        return self._tell(*found, self._horizon.look(self._db), there_is_time) if found else 0

    def _tell(self, fence: int, place: int, until: int, there_is_time: Callable[[], bool]) -> int:
        told = 0
        while place < until:
            reached = min(place + 2 * WINDOW, until)
            spans = [span_bytes(ending) for ending in self._endings.read(place, reached)]
            if not self._is_taken(spans) or not self.place.record(fence, reached, len(spans)):
                break
            place, told = reached, told + len(spans)
            if not there_is_time():
                break
        return told

    def _is_taken(self, spans: list[bytes]) -> bool:
        """Whether to go on: the collector has the spans, or refused them so often that they are given up."""
        if not spans:
            return True
        if untaken := self._collector.take(spans):
            return self._is_given_up(untaken, len(spans))
        self._refusals, self._is_held_up = 0, False
        self._outage.over()
        return True

    def _is_given_up(self, untaken: Untaken, count: int) -> bool:
        """Whether the spans wait no longer, as they were refused `TRIES` times; while the collector is away they wait, however long."""
        self._outage.met(TaskerError(f"{untaken.reason}; {count} spans wait"))
        self._refusals += untaken.is_refusal
        self._is_held_up = self._refusals < TRIES
        if self._is_held_up:
            return False
        log.error("%d spans are given up after %d tries", count, TRIES)
        self._refusals = 0
        return True

    def close(self) -> None:
        """What has ended is told, unless the collector is away, and another may go on at once. Raises as `tell_due`."""
        if not self._is_held_up:
            deadline = time.monotonic() + LAST_SECONDS
            self._tell_while(lambda: time.monotonic() < deadline)
        self._collector.close()
        self.place.leave()
