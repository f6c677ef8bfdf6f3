"""PgQueuer: a job for each step, which enqueues the steps after it; a step of many parents is counted down in a table of ours."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AbstractContextManager

import asyncpg
from pgqueuer import Queries

from benchmarks.driving import Order, drive, processes
from benchmarks.pgqueuer.jobs import entrypoint
from benchmarks.shapes import joined, roots

BATCH = 500


class PgQueuer:
    package = "pgqueuer"

    def prepare(self, order: Order) -> None:
        self.submitted = 0
        self.loop = asyncio.new_event_loop()
        self.connection = self.loop.run_until_complete(asyncpg.connect(order.url))
        self.queries = Queries.from_asyncpg_connection(self.connection)
        self.loop.run_until_complete(self.queries.install())
        self.loop.run_until_complete(self.connection.execute("create table bench_join (task bigint primary key, open int not null)"))

    def workers(self, order: Order) -> AbstractContextManager[None]:
        logs = [order.scratch / f"worker-{number}.log" for number in range(order.workers)]
        commands = [[sys.executable, "-m", "benchmarks.pgqueuer.jobs"]] * order.workers
        return processes(commands, order, lambda: all("up" in log.read_text() for log in logs))

    def submit(self, order: Order, count: int) -> None:
        self.loop.run_until_complete(self._submit(order.shape, count))

    async def _submit(self, shape: str, count: int) -> None:
        first, self.submitted = self.submitted, self.submitted + count
        if joined(shape):
            await self.connection.execute(
                "insert into bench_join select generate_series($1::bigint, $2::bigint), $3", first, self.submitted - 1, joined(shape)
            )
        steps = [(task, at) for task in range(first, self.submitted) for at in roots(shape)]
        for begin in range(0, len(steps), BATCH):
            batch = steps[begin : begin + BATCH]
            await self.queries.enqueue(
                [entrypoint(shape, at) for _, at in batch], [json.dumps([shape, task, at]).encode() for task, at in batch], [0] * len(batch)
            )

    def ended(self, order: Order) -> int:
        query = "select count(*) from pgqueuer_log where entrypoint = 'last' and status = 'successful'"
        return int(self.loop.run_until_complete(self.connection.fetchval(query)))


if __name__ == "__main__":
    drive(PgQueuer())
