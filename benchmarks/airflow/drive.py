"""Airflow: API server, DAG processor and scheduler with its local executor, all on PostgreSQL."""

from __future__ import annotations

import atexit
import json
import os
import secrets
import subprocess
import sys
import urllib.request
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import psycopg2

from benchmarks.driving import Order, answers, drive, free_port, processes

DAGS = 5
PER_WORKER = 4


class Airflow:
    package = "apache-airflow"

    def prepare(self, order: Order) -> None:
        port = free_port()
        self.api = f"http://127.0.0.1:{port}"
        os.environ |= _settings(order, port)
        subprocess.run([_program(), "db", "migrate"], check=True, capture_output=True, timeout=order.limit)
        self.connection = psycopg2.connect(order.url)
        self.connection.autocommit = True
        self.servers = ExitStack()
        atexit.register(self.servers.close)
        self._start(order, ["api-server", "--port", str(port)], "server", lambda: answers(f"{self.api}/api/v2/version"))
        self._start(order, ["dag-processor"], "processor", lambda: self._value("select count(*) from serialized_dag") == DAGS)
        self.token = self._ask("/auth/token")["access_token"]

    def _start(self, order: Order, command: list[str], name: str, is_up: Any) -> None:
        self.servers.enter_context(processes([[_program(), *command]], order, is_up, name=name))

    def workers(self, order: Order) -> AbstractContextManager[None]:
        query = "select count(*) from job where job_type = 'SchedulerJob' and state = 'running'"
        return processes([[_program(), "scheduler"]], order, lambda: self._value(query) > 0)

    def submit(self, order: Order, count: int) -> None:
        for _ in range(count):
            self._ask(f"/api/v2/dags/{order.shape}/dagRuns", {"logical_date": None}, Authorization=f"Bearer {self.token}")

    def _ask(self, path: str, body: dict[str, Any] | None = None, **headers: str) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.api + path, data, {"Content-Type": "application/json", **headers})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def ended(self, order: Order) -> int:
        if failed := self._value("select count(*) from dag_run where state = 'failed'"):
            raise SystemExit(f"{failed} DAG runs failed")
        return int(self._value("select count(*) from dag_run where state = 'success'"))

    def _value(self, query: str) -> Any:
        with self.connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchone()[0]


def _settings(order: Order, port: int) -> dict[str, str]:
    return {
        "AIRFLOW_HOME": str(order.scratch / "home"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "BENCH_WIDTH": str(order.width),
        "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parent),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        # the default of 32 processes is for bigger machines: their calls time out here
        "AIRFLOW__CORE__PARALLELISM": str(PER_WORKER * order.workers),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": order.url.replace("postgresql:", "postgresql+psycopg2:", 1),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
    }


def _program() -> str:
    return str(Path(sys.executable).with_name("airflow"))


if __name__ == "__main__":
    drive(Airflow())
