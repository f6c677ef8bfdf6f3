"""This engine through its own command: `tasker engine`, as a user starts it."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager

from benchmarks.driving import Order, drive, processes
from engine import migrate, tasks
from engine.db import Database
from engine.requests import TaskRequest

BATCH = 500
MODULE = "benchmarks.tasker.flows"


class Tasker:
    package = "tasker-engine"

    def prepare(self, order: Order) -> None:
        os.environ["BENCH_WIDTH"] = str(order.width)
        from benchmarks.tasker import flows

        migrate.upgrade(order.url)
        self.db = Database(order.url, max_size=2, call_seconds=order.limit)
        self.namespace = flows.NAMESPACE
        for flow in flows.FLOWS:
            tasks.register_definition(self.db, flow.definition)

    def workers(self, order: Order) -> AbstractContextManager[None]:
        command = [sys.executable, "-m", "engine.cli", "engine", "--handlers", MODULE]
        return processes([command], order, self._is_up, TASKER_DATABASE_URL=order.url, TASKER_ENV="production")

    def _is_up(self) -> bool:
        return bool(self.db.value("select exists (select from tasker_worker)"))

    def submit(self, order: Order, count: int) -> None:
        for begin in range(0, count, BATCH):
            tasks.submit_many(self.db, [TaskRequest(order.shape, self.namespace)] * min(BATCH, count - begin))

    def ended(self, order: Order) -> int:
        return int(self.db.value("select count(*) from tasker_task where finished_at is not null"))


if __name__ == "__main__":
    drive(Tasker())
