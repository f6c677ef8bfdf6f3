"""DBOS: one workflow function for each shape, whose steps are checkpoints; queued for worker processes, but for the latencies started at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import psycopg
import sqlalchemy
from dbos import DBOS, DBOSClient

from benchmarks.dbos import app
from benchmarks.driving import Order, drive, processes

BATCH = 500


class Dbos:
    package = "dbos"

    def prepare(self, order: Order) -> None:
        app.configured(order.url, "driver")
        # the queue is made and the tables are, and nothing is taken from the queue here
        DBOS.listen_queues([])
        DBOS.launch()
        DBOS.register_queue(app.QUEUE)
        self.client = DBOSClient(system_database_url=order.url, application_name=app.NAME)
        self.engine = sqlalchemy.create_engine(order.url.replace("postgresql:", "postgresql+psycopg:", 1))
        self.connection = psycopg.connect(order.url, autocommit=True)

    def workers(self, order: Order) -> AbstractContextManager[None]:
        if order.workload == "W4":
            return self._here()
        logs = [order.scratch / f"worker-{number}.log" for number in range(order.workers)]
        commands = [[sys.executable, "-m", "benchmarks.dbos.app"]] * order.workers
        return processes(commands, order, lambda: all("up" in log.read_text() for log in logs))

    @contextmanager
    def _here(self) -> Iterator[None]:
        yield

    def submit(self, order: Order, count: int) -> None:
        kind, _, width = order.shape.partition("_")
        if order.workload == "W4":
            for _ in range(count):
                DBOS.start_workflow(app.WORKFLOWS[kind], int(width))
            return
        for begin in range(0, count, BATCH):
            with self.engine.begin() as transaction:
                for _ in range(min(BATCH, count - begin)):
                    self.client.enqueue_in_transaction(
                        transaction, {"queue_name": app.QUEUE, "workflow_name": kind, "app_version": app.VERSION}, int(width)
                    )

    def ended(self, order: Order) -> int:
        return int(self.connection.execute("select count(*) from dbos.workflow_status where status = 'SUCCESS'").fetchone()[0])


if __name__ == "__main__":
    drive(Dbos())
    DBOS.destroy()
