"""Procrastinate: a job for each step, which defers the steps after it; a step of many parents is counted down in a table of ours."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg

from benchmarks.driving import Order, drive, processes
from benchmarks.shapes import joined, roots, size

CONCURRENCY = 20
BATCH = 500


class Procrastinate:
    package = "procrastinate"

    def prepare(self, order: Order) -> None:
        self.submitted = 0
        self.connection = psycopg.connect(order.url, autocommit=True)
        os.environ["BENCH_URL"] = order.url
        from benchmarks.procrastinate import jobs

        self.step = jobs.step
        jobs.app.open()
        jobs.app.schema_manager.apply_schema()
        self.connection.execute("create table bench_join (task bigint primary key, open int not null)")

    def workers(self, order: Order) -> AbstractContextManager[None]:
        command = [str(Path(sys.executable).with_name("procrastinate")), "--app", "benchmarks.procrastinate.jobs.app", "worker", "--concurrency", str(CONCURRENCY)]
        return processes([command] * order.workers, order, lambda: self._workers() >= order.workers)

    def _workers(self) -> int:
        return int(self.connection.execute("select count(*) from procrastinate_workers").fetchone()[0])

    def submit(self, order: Order, count: int) -> None:
        first, self.submitted = self.submitted, self.submitted + count
        numbers = range(first, self.submitted)
        if joined(order.shape):
            self.connection.execute(
                "insert into bench_join select generate_series(%s::bigint, %s::bigint), %s", [first, self.submitted - 1, joined(order.shape)]
            )
        jobs = [{"shape": order.shape, "task": task, "at": at} for task in numbers for at in roots(order.shape)]
        for begin in range(0, len(jobs), BATCH):
            self.step.batch_defer(*jobs[begin : begin + BATCH])

    def ended(self, order: Order) -> int:
        last = size(order.shape) - 1
        query = "select count(*) from procrastinate_jobs where status = 'succeeded' and args ->> 'at' = %s"
        return int(self.connection.execute(query, [str(last)]).fetchone()[0])


if __name__ == "__main__":
    drive(Procrastinate())
