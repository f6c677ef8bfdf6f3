"""Dagster: its web server takes runs, its daemon starts them, each in a process, and each step in another."""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster_graphql import DagsterGraphQLClient

from benchmarks.driving import Order, answers, drive, free_port, processes

MODULE = "benchmarks.dagster.jobs"
SETTINGS = """
storage:
  postgres:
    postgres_url: {url}
telemetry:
  enabled: false
"""


class Dagster:
    package = "dagster"

    def prepare(self, order: Order) -> None:
        home = order.scratch / "home"
        home.mkdir()
        (home / "dagster.yaml").write_text(SETTINGS.format(url=order.url.replace("postgresql:", "postgresql+psycopg2:", 1)))
        os.environ["DAGSTER_HOME"] = str(home)
        self.instance = DagsterInstance.get()
        port = free_port()
        server = ExitStack()
        atexit.register(server.close)
        command = [_program("dagster-webserver"), "-m", MODULE, "-h", "127.0.0.1", "-p", str(port)]
        server.enter_context(processes([command], order, lambda: answers(f"http://127.0.0.1:{port}/server_info"), name="server"))
        self.client = DagsterGraphQLClient("127.0.0.1", port_number=port)

    def workers(self, order: Order) -> AbstractContextManager[None]:
        return processes([[_program("dagster-daemon"), "run", "-m", MODULE]], order, lambda: bool(self.instance.get_daemon_heartbeats()))

    def submit(self, order: Order, count: int) -> None:
        for _ in range(count):
            self.client.submit_job_execution(order.shape)

    def ended(self, order: Order) -> int:
        failed = self.instance.get_runs_count(RunsFilter(statuses=[DagsterRunStatus.FAILURE]))
        if failed:
            raise SystemExit(f"{failed} runs failed")
        return self.instance.get_runs_count(RunsFilter(statuses=[DagsterRunStatus.SUCCESS]))


def _program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


if __name__ == "__main__":
    drive(Dagster())
