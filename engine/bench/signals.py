"""What it costs to see everything: the same workloads with logs as JSON, metrics that are scraped and traces for a collector, and without; turn by turn.

Engine, dashboard and collector are processes of their own, as in production, and all share this machine. The collector keeps what it gets and reads
it when the clock has stopped: what is measured is what engine, dashboard and database pay. Then every span is waited for, and counted.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, LiteralString, NamedTuple

from engine import tasks
from engine.bench import flows
from engine.bench.place import BULK_SECONDS, throwaway_database
from engine.bench.processor import parent, tree_seconds
from engine.bench.sizes import Sizes
from engine.bench.workloads import throughput
from engine.db import Database
from engine.errors import TaskerError
from engine.settings import Settings
from engine.traces.tracing import NAME

RUNNER = "processes"
SCRAPE_SECONDS = 5.0
SHAPES = {"W1": "chain_of_5", "W2": "diamond_of_4", "W3": "fan_of_1000"}
STEPS = {"W1": 5, "W2": 6, "W3": 1001}
LONGER = 3
FANS = 15
"""More than elsewhere: what is over within a second is over before a scrape or a second round of traces could come."""
TELLING_SECONDS = 120.0
ON = {"TASKER_LOG_FORMAT": "json", "TASKER_LOG_LEVEL": "info", "TASKER_TRACES": "on"}
OFF = {"TASKER_LOG_FORMAT": "text", "TASKER_LOG_LEVEL": "critical", "TASKER_TRACES": "off"}


class Clocked(NamedTuple):
    """What one workload took: steps in a second, and milliseconds of processor time a step in engine, dashboard and database."""

    rate: float
    processor: float


def run(settings: Settings, *, sizes: Sizes, rounds: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Rates and processor time on and off as medians, the share that is lost by the median of the pairs, and spans told per second while the clock ran.

    Raises `TaskerError` when a span is missing in the end.
    """
    counts = {"W1": sizes.w1 * LONGER, "W2": sizes.w2 * LONGER, "W3": sizes.w3 * FANS}
    taken: dict[str, dict[str, list[Clocked]]] = {key: {"off": [], "on": []} for key in SHAPES}
    with throwaway_database(settings) as url, _collector() as collector:
        db = Database(url, max_size=2, call_seconds=BULK_SECONDS)
        try:
            for flow in (flows.w1, flows.w2, flows.w3):
                tasks.register_definition(db, flow.definition)
            for number in range(rounds):
                for state in ("off", "on") if number % 2 else ("on", "off"):
                    progress(f"round {number + 1} of {rounds}, {state}")
                    for key, clocked in _turn(db, state, collector, counts).items():
                        taken[key][state].append(clocked)
        finally:
            db.close()
    found = {key: _compared(**taken[key], told=collector.told[key]) for key in SHAPES}
    return {"workloads": found, "rounds": rounds, "spans": collector.count}


def _turn(db: Database, state: str, collector: _Sink, counts: dict[str, int]) -> dict[str, Clocked]:
    is_on = state == "on"
    db.rows("delete from tasker_subscription where name = %(name)s returning name", {"name": NAME})  # what ended in a turn without is not told in this one
    collector.forget()
    newest = db.value("select coalesce(max(task_no), 0) from tasker_task")
    environment = {**os.environ, **(ON if is_on else OFF), "TASKER_DATABASE_URL": db.url, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    with _process(environment, "engine", "--runner", RUNNER, "--handlers", "engine.bench.flows") as engine, _scraped(environment, wanted=is_on) as web:
        for key, name in SHAPES.items():
            throughput(db, name, max(1, counts[key] // 10))  # handlers loaded, statements prepared, paces known
        roots = (engine.pid, web.pid, parent(int(db.value("select pg_backend_pid()"))))
        found = {key: _clocked(db, key, counts[key], roots, collector) for key in SHAPES}
        if is_on:
            _wait_for_spans(db, newest, collector)
    return found


def _clocked(db: Database, key: str, count: int, roots: tuple[int, ...], collector: _Sink) -> Clocked:
    told, begun, spent = len(collector.bodies), time.monotonic(), sum(map(tree_seconds, roots))
    rate = throughput(db, SHAPES[key], count)
    collector.clocked.append((key, told, len(collector.bodies), time.monotonic() - begun))
    return Clocked(rate, (sum(map(tree_seconds, roots)) - spent) * 1000 / (count * STEPS[key]))


def _wait_for_spans(db: Database, newest: int, collector: _Sink) -> None:
    """Every task and attempt of the turn has reached the collector, each once."""
    query: LiteralString = """
        select (select count(*) from tasker_task t where t.task_no > %(newest)s)
             + (select count(*) from tasker_history h where h.task_no > %(newest)s and h.step_no is not null and h.from_state = 2 and h.to_state in (3, 4, 5, 6))
    """
    wanted = db.value(query, {"newest": newest})
    deadline = time.monotonic() + TELLING_SECONDS
    while (had := collector.read()) < wanted and time.monotonic() < deadline:
        time.sleep(0.5)
    if had != wanted:
        raise TaskerError(f"the collector had {had:,} spans of {wanted:,}")
    collector.note()


def _compared(off: list[Clocked], on: list[Clocked], told: list[float]) -> dict[str, float]:
    lost = [1 - with_it.rate / without.rate for with_it, without in zip(on, off, strict=True)]
    more = [with_it.processor / without.processor - 1 if without.processor else 0.0 for with_it, without in zip(on, off, strict=True)]
    return {
        "off_steps_per_s": round(statistics.median(each.rate for each in off)),
        "on_steps_per_s": round(statistics.median(each.rate for each in on)),
        "lost": round(statistics.median(lost), 3),
        "lost_least": round(min(lost), 3),
        "lost_most": round(max(lost), 3),
        "off_processor_ms": round(statistics.median(each.processor for each in off), 4),
        "on_processor_ms": round(statistics.median(each.processor for each in on), 4),
        "more_processor": round(statistics.median(more), 3),
        "told_spans_per_s": round(statistics.median(told)),
    }


def print_report(report: dict[str, Any]) -> None:
    """The table, as `docs/observability.md` has it."""
    print("| workload | steps/s without | steps/s with | lost, median of pairs | least to most | processor ms/step without | with | more, median of pairs | spans/s told meanwhile |")
    print("|---|---|---|---|---|---|---|---|---|")
    for key, row in report["workloads"].items():
        lost = f"{row['lost']:.1%} | {row['lost_least']:.1%} to {row['lost_most']:.1%}"
        processor = f"{row['off_processor_ms']:.3f} | {row['on_processor_ms']:.3f} | {row['more_processor']:.1%}"
        print(f"| {key} | {row['off_steps_per_s']:,} | {row['on_steps_per_s']:,} | {lost} | {processor} | {row['told_spans_per_s']:,} |")
    print(f"{report['rounds']} rounds; the collector had all {report['spans']:,} spans")


@contextmanager
def _process(environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", "engine.cli", *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def _scraped(environment: dict[str, str], *, wanted: bool) -> Iterator[subprocess.Popen[bytes]]:
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
        yield web
        over.set()
        if wanted:
            scraper.join()


def _scrape(url: str, over: threading.Event) -> None:
    while not over.wait(SCRAPE_SECONDS):
        with urllib.request.urlopen(url, timeout=30) as answer:
            answer.read()


class _Sink(ThreadingHTTPServer):
    """Takes what a collector would take, and reads it only when asked to: its work is not the engine's, and not to be measured."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.count = 0
        self.told: dict[str, list[float]] = {key: [] for key in SHAPES}
        self.forget()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def forget(self) -> None:
        """A new turn begins."""
        self.bodies: list[bytes] = []
        self.clocked: list[tuple[str, int, int, float]] = []
        self._sizes: list[int] = []
        self._ids: set[bytes] = set()

    def read(self) -> int:
        """How many different spans of this turn there are so far."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        for body in self.bodies[len(self._sizes) :]:
            request = ExportTraceServiceRequest.FromString(body)
            ids = [span.span_id for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]
            self._ids.update(ids)
            self._sizes.append(len(ids))
        return len(self._ids)

    def note(self) -> None:
        """How many spans came in each second while a clock ran, now that all of them are read."""
        for key, begun, ended, seconds in self.clocked:
            self.told[key].append(sum(self._sizes[begun:ended]) / seconds)
        self.count += len(self._ids)


@contextmanager
def _collector() -> Iterator[_Sink]:
    class Take(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            sink.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    sink = _Sink(Take)
    sink.daemon_threads = True
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    try:
        yield sink
    finally:
        sink.shutdown()
        sink.server_close()
