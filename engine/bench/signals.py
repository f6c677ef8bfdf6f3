"""What it costs to see everything: the same workloads with logs as JSON, metrics that are scraped and traces for a collector, and without; turn by turn.

Engine, dashboard and collector are processes of their own, as in production, and all share this machine.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from engine import tasks
from engine.bench import flows
from engine.bench.place import BULK_SECONDS, throwaway_database
from engine.bench.sizes import Sizes
from engine.bench.workloads import throughput
from engine.db import Database
from engine.errors import TaskerError
from engine.settings import Settings
from engine.tracing import NAME

RUNNER = "processes"
SCRAPE_SECONDS = 5.0
SHAPES = {"W1": "chain_of_5", "W2": "diamond_of_4", "W3": "fan_of_1000"}
FANS = 5
"""Of W3: one alone is over before a scrape or a round of traces could come."""
ON = {"TASKER_LOG_FORMAT": "json", "TASKER_LOG_LEVEL": "info", "TASKER_TRACES": "on"}
OFF = {"TASKER_LOG_FORMAT": "text", "TASKER_LOG_LEVEL": "critical", "TASKER_TRACES": "off"}


def run(settings: Settings, *, sizes: Sizes, rounds: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Steps per second on and off as medians, the share that is lost by the median of the pairs, and how many spans the collector had."""
    counts = {"W1": sizes.w1, "W2": sizes.w2, "W3": sizes.w3 * FANS}
    rates: dict[str, dict[str, list[float]]] = {key: {"off": [], "on": []} for key in SHAPES}
    with throwaway_database(settings) as url, _collector() as collector:
        db = Database(url, max_size=2, call_seconds=BULK_SECONDS)
        try:
            for flow in (flows.w1, flows.w2, flows.w3):
                tasks.register_definition(db, flow.definition)
            for number in range(rounds):
                for state in ("off", "on") if number % 2 else ("on", "off"):
                    progress(f"round {number + 1} of {rounds}, {state}")
                    for key, rate in _turn(db, state, collector.url, counts).items():
                        rates[key][state].append(rate)
        finally:
            db.close()
    return {"workloads": {key: _compared(**found) for key, found in rates.items()}, "rounds": rounds, "spans": collector.count}


def _turn(db: Database, state: str, collector: str, counts: dict[str, int]) -> dict[str, float]:
    db.rows("delete from tasker_subscription where name = %(name)s returning name", {"name": NAME})  # what ended in the last turn is not this one's
    environment = {**os.environ, **(ON if state == "on" else OFF), "TASKER_DATABASE_URL": db.url, "OTEL_EXPORTER_OTLP_ENDPOINT": collector}
    with _process(environment, "engine", "--runner", RUNNER, "--handlers", "engine.bench.flows"), _scraped(environment, wanted=state == "on"):
        for key, name in SHAPES.items():
            throughput(db, name, max(1, counts[key] // 10))  # handlers loaded, statements prepared, paces known
        return {key: throughput(db, name, counts[key]) for key, name in SHAPES.items()}


def _compared(off: list[float], on: list[float]) -> dict[str, float]:
    lost = [1 - with_it / without for with_it, without in zip(on, off, strict=True)]
    return {"off_steps_per_s": round(statistics.median(off)), "on_steps_per_s": round(statistics.median(on)), "lost": round(statistics.median(lost), 3),
            "lost_least": round(min(lost), 3), "lost_most": round(max(lost), 3)}  # fmt: skip


def print_report(report: dict[str, Any]) -> None:
    """The table, as `docs/observability.md` has it."""
    print("| workload | steps/s without | steps/s with | lost, median of pairs | least to most |")
    print("|---|---|---|---|---|")
    for key, row in report["workloads"].items():
        print(f"| {key} | {row['off_steps_per_s']:,} | {row['on_steps_per_s']:,} | {row['lost']:.1%} | {row['lost_least']:.1%} to {row['lost_most']:.1%} |")
    print(f"{report['rounds']} rounds; the collector had {report['spans']:,} spans")


@contextmanager
def _process(environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", "engine.cli", *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def _scraped(environment: dict[str, str], *, wanted: bool) -> Iterator[None]:
    """The dashboard is there either way; with `wanted` its metrics are asked for again and again."""
    with _process(environment, "web", "--port", "0") as web:
        assert web.stdout
        line = web.stdout.readline().decode()
        if not line.startswith("Dashboard: "):
            raise TaskerError("the bench's dashboard did not start")
        over = threading.Event()
        scraper = threading.Thread(target=_scrape, args=(f"{line.split()[1]}/metrics", over), daemon=True)
        if wanted:
            scraper.start()
        yield
        over.set()
        if wanted:
            scraper.join()


def _scrape(url: str, over: threading.Event) -> None:
    while not over.wait(SCRAPE_SECONDS):
        with urllib.request.urlopen(url, timeout=30) as answer:
            answer.read()


class _Sink(ThreadingHTTPServer):
    """Takes what a collector would take, and only counts it."""

    count = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def _collector() -> Iterator[_Sink]:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    class Take(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                sink.count += sum(len(scope.spans) for scope in resource.scope_spans)

        def log_message(self, *_: Any) -> None: ...

    sink = _Sink(("127.0.0.1", 0), Take)
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    try:
        yield sink
    finally:
        sink.shutdown()
        sink.server_close()
