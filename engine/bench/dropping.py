"""What dropping old tasks costs those who work meanwhile: `python -m engine.bench.dropping`, apart from `tasker bench` because it fills a gigabyte.

A million ended steps are dropped, as an engine does it and then without its rests, while one worker claims step after step.
"""

from __future__ import annotations

import statistics
import threading
import time
from datetime import timedelta
from typing import Any

from psycopg import Connection

from engine import leases, retention, tasks
from engine.bench import flows
from engine.bench.place import throwaway_database
from engine.db import Database, connect
from engine.requests import TaskRequest
from engine.retention import BATCHES_PER_ROUND, Dropped, Sweep
from engine.settings import Settings

TASKS = 200_000
LENGTH = 5
READY = 400_000
CLAIMS = 2_000


def main() -> None:
    """Prints what was measured."""
    with throwaway_database(Settings.from_environ()) as url:
        db = Database(url, max_size=2)
        try:
            _measure(db, url)
        finally:
            db.close()


def _measure(db: Database, url: str) -> None:
    print(f"{TASKS * LENGTH:,} ended steps in {TASKS:,} tasks, {_fill(db):,} rows of history, {READY:,} steps ready")
    with connect(url, options=leases.SESSION) as connection:
        claims = _Claims(connection, tasks.register_definition(db, flows.single.definition))
        claims.until(lambda: claims.count >= CLAIMS)
        print(f"claims with nothing else: {claims.told()}")
        _beside(claims, "an engine's rounds", lambda stopping: _rounds(db, stopping, TASKS // 4))
        _beside(claims, "without rests", lambda stopping: Sweep(db).finish())


def _beside(claims: _Claims, name: str, work: Any) -> None:
    found: list[Dropped] = []
    begin = time.perf_counter()
    thread = threading.Thread(target=lambda: found.append(work(threading.Event())))
    thread.start()
    claims.forget()
    claims.until(lambda: not thread.is_alive())
    seconds = time.perf_counter() - begin
    thread.join()
    print(f"{name}: {found[0].step_count:,} steps in {seconds:.1f} s, {found[0].step_count / seconds:,.0f} steps/s; claims meanwhile: {claims.told()}")


def _rounds(db: Database, stopping: threading.Event, count: int) -> Dropped:
    sweep, dropped = Sweep(db), Dropped()
    while dropped.task_count < count:
        dropped += sweep.go_on(stopping, batches=BATCHES_PER_ROUND)
    return dropped


class _Claims:
    """One durable claim of one step after the other, each timed."""

    def __init__(self, connection: Connection[Any], definition_id: int) -> None:
        self._connection, self._definitions = connection, f"{{{definition_id}}}"
        self._who = leases.register_worker(
            connection, name="bench", runner="threads", concurrency=1, definitions=[definition_id], lease=timedelta(hours=9)
        )
        self._number = 0
        self._times: list[float] = []

    @property
    def count(self) -> int:
        """Since they were last forgotten."""
        return len(self._times)

    def until(self, over: Any) -> None:
        while not over():
            begin = time.perf_counter()
            rows = leases.complete_and_claim(self._connection, self._who, claim_no=self._number, done=(), want=1, definitions=self._definitions)
            self._times.append((time.perf_counter() - begin) * 1000)
            self._number += 1
            assert len(rows) == 1, "nothing is left to claim"

    def forget(self) -> None:
        self._times = []

    def told(self) -> str:
        ordered = sorted(self._times)
        return f"p50 {statistics.median(ordered):.3f} ms, p99 {ordered[int(0.99 * (len(ordered) - 1))]:.3f} ms ({len(ordered):,})"


def _fill(db: Database) -> int:
    """Tasks that ended two days ago, with the history that the engine's own path writes, and steps that are ready now."""
    single = tasks.register_definition(db, flows.single.definition)
    chain = tasks.register_definition(db, flows.w1.definition)
    for definition, count in ((chain, TASKS), (single, READY)):
        for _ in range(count // 20_000):
            tasks.submit_many(db, [TaskRequest("chain_of_5" if definition == chain else "single", flows.NAMESPACE)] * 20_000)
    with connect(db.url, options="-c statement_timeout=0") as connection:
        known = {"chain": chain}
        connection.execute("delete from tasker_ready where definition_id = %(chain)s", known)
        connection.execute(
            "update tasker_step set state = 4, pending = 0, attempts = 1, started_at = now() - interval '2 days', finished_at = now() - interval '2 days',"
            ' result = \'{"ok": 1}\' where definition_id = %(chain)s', known
        )
        connection.execute(
            "update tasker_task set state = 4, remaining = 0, created_at = now() - interval '2 days', started_at = now() - interval '2 days',"
            " finished_at = now() - interval '2 days' where definition_id = %(chain)s", known
        )
        connection.execute(
            "insert into tasker_history (task_no, step_no, at, from_state, to_state, attempt, worker_id)"
            " select s.task_no, s.step_no, s.started_at, m.from_state, m.to_state, 1, 1"
            "   from tasker_step s, (values (1, 2), (2, 4)) m (from_state, to_state) where s.definition_id = %(chain)s order by s.task_no, s.step_no", known
        )
        connection.execute(
            "insert into tasker_history (task_no, at, from_state, to_state) select t.task_no, t.finished_at, m.from_state, m.to_state"
            "   from tasker_task t, (values (0, 2), (2, 4)) m (from_state, to_state) where t.definition_id = %(chain)s", known
        )
        connection.execute("vacuum analyze")
    retention.set_retention(db, flows.NAMESPACE, timedelta(days=1), actor="bench")
    return int(db.value("select count(*) from tasker_history"))


if __name__ == "__main__":
    main()
