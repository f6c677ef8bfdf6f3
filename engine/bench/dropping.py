"""What dropping old tasks costs those who work meanwhile: `python -m engine.bench.dropping`, apart from `tasker bench` because it fills a gigabyte.

A million ended steps are dropped, as an engine does it and then without its rests, while one worker claims step after step.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from psycopg import Connection

from engine import leases, tasks
from engine.bench import flows
from engine.bench.document import publish, quantiles, say
from engine.bench.past import end_all
from engine.bench.place import bulk_database
from engine.db import Database, connect
from engine.keeping import retention
from engine.keeping.retention import BATCHES_PER_ROUND, STEPS_PER_BATCH, Dropped, Sweep
from engine.requests import TaskRequest

TASKS = int(os.environ.get("BENCH_TASKS", "200000"))
LENGTH = 5
READY = 2 * TASKS
ALONE_SECONDS = 5.0


def main() -> None:
    """Prints what was measured."""
    publish(_measured)


def _measured() -> dict[str, Any]:
    with bulk_database() as db:
        return {"steps": TASKS * LENGTH, "tasks": TASKS, "ready": READY, "moves": _fill(db)} | {"ways": _ways(db)}


def _ways(db: Database) -> list[dict[str, Any]]:
    say(f"{TASKS * LENGTH:,} ended steps in {TASKS:,} tasks, {READY:,} steps ready")
    with connect(db.url, options=leases.SESSION) as connection:
        claims = _Claims(connection, tasks.register_definition(db, flows.single.definition))
        sweep, never = Sweep(db), threading.Event()
        rounds = max(1, TASKS * LENGTH // 2 // (BATCHES_PER_ROUND * STEPS_PER_BATCH))
        return [
            _compared(claims, "an engine's rounds", lambda: sweep.go_on(never), rounds=rounds),
            _compared(claims, "without rests", sweep.finish, rounds=1),
        ]


def _compared(claims: _Claims, name: str, drop: Callable[[], Dropped], *, rounds: int) -> dict[str, Any]:
    """Claims with and without, in turns, for a shared machine changes from one minute to the next."""
    alone, beside, dropped, seconds = [], [], Dropped(), 0.0
    for _ in range(rounds):
        alone += claims.for_seconds(ALONE_SECONDS)
        begin, work = time.perf_counter(), _Work(drop)
        work.start()
        beside += claims.during(work)
        seconds += time.perf_counter() - begin
        dropped += work.dropped
    found: dict[str, Any] = {"name": name, "steps": dropped.step_count, "seconds": seconds, "alone": quantiles(alone), "beside": quantiles(beside)}
    say(f"{name}: {dropped.step_count:,} steps in {seconds:.1f} s, {dropped.step_count / seconds:,.0f} steps/s")
    say(f"  claims alone:     {_told(found['alone'])}\n  claims meanwhile: {_told(found['beside'])}")
    return found


def _told(times: dict[str, Any]) -> str:
    return f"p50 {times['p50_ms']:.3f} ms, p99 {times['p99_ms']:.3f} ms ({times['count']:,})"


class _Work(threading.Thread):
    """Drops, and knows how much."""

    def __init__(self, drop: Callable[[], Dropped]) -> None:
        super().__init__()
        self.dropped = Dropped()
        self._drop = drop

    def run(self) -> None:
        self.dropped = self._drop()


class _Claims:
    """One durable claim of one step after the other, each timed."""

    def __init__(self, connection: Connection[Any], definition_id: int) -> None:
        self._connection, self._definitions = connection, f"{{{definition_id}}}"
        self._who = leases.register_worker(
            connection, name="bench", runner="threads", concurrency=1, definitions=[definition_id], lease=timedelta(hours=9)
        )
        self._number = 0

    def for_seconds(self, seconds: float) -> list[float]:
        """What each took, in milliseconds."""
        end = time.perf_counter() + seconds
        return self._until(lambda: time.perf_counter() > end)

    def during(self, work: threading.Thread) -> list[float]:
        """The same, while something else goes on."""
        return self._until(lambda: not work.is_alive())

    def _until(self, over: Callable[[], bool]) -> list[float]:
        times = []
        while not over():
            begin = time.perf_counter()
            rows = leases.complete_and_claim(self._connection, self._who, claim_no=self._number, done=(), want=1, definitions=self._definitions)
            times.append((time.perf_counter() - begin) * 1000)
            self._number += 1
            assert len(rows) == 1, "nothing is left to claim"
        return times


def _fill(db: Database) -> int:
    """Tasks that ended two days ago, with the history that the engine's own path writes, and steps that are ready now."""
    single = tasks.register_definition(db, flows.single.definition)
    chain = tasks.register_definition(db, flows.w1.definition)
    for definition, count in ((chain, TASKS), (single, READY)):
        for first in range(0, count, 20_000):
            tasks.submit_many(db, [TaskRequest("chain_of_5" if definition == chain else "single", flows.NAMESPACE)] * min(20_000, count - first))
    end_all(db.url, chain, "interval '2 days'")
    retention.set_retention(db, flows.NAMESPACE, timedelta(days=1), actor="bench")
    return int(db.value("select count(*) from tasker_history"))


if __name__ == "__main__":
    main()
