"""Prefect: a server on PostgreSQL, and a process that serves the flows and starts a process for each run."""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.driving import Order, answers, drive, free_port, processes


class Prefect:
    package = "prefect"

    def prepare(self, order: Order) -> None:
        port = free_port()
        os.environ |= {
            "PREFECT_HOME": str(order.scratch / "home"),
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_API_DATABASE_CONNECTION_URL": order.url.replace("postgresql:", "postgresql+asyncpg:", 1),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }
        server = ExitStack()
        atexit.register(server.close)
        command = [str(Path(sys.executable).with_name("prefect")), "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        server.enter_context(processes([command], order, lambda: answers(f"http://127.0.0.1:{port}/api/health"), name="server"))
        self.connection = psycopg.connect(order.url, autocommit=True)
        if order.workload == "W5":
            # a run can only be asked for where its deployment is known
            with self.workers(order):
                pass

    def workers(self, order: Order) -> AbstractContextManager[None]:
        return processes([[sys.executable, "-m", "benchmarks.prefect.flows"]], order, lambda: self._value("select count(*) from deployment") == 3)

    def submit(self, order: Order, count: int) -> None:
        from prefect.deployments import run_deployment

        from benchmarks.prefect.flows import DEPLOYMENT

        kind, _, width = order.shape.partition("_")
        for _ in range(count):
            run_deployment(f"{kind}/{DEPLOYMENT}", parameters={"width": int(width)}, timeout=0)

    def ended(self, order: Order) -> int:
        if failed := self._value("select count(*) from flow_run where state_type in ('FAILED', 'CRASHED')"):
            raise SystemExit(f"{failed} flow runs failed")
        return int(self._value("select count(*) from flow_run where state_type = 'COMPLETED'"))

    def _value(self, query: str) -> Any:
        return self.connection.execute(query).fetchone()[0]


if __name__ == "__main__":
    drive(Prefect())
