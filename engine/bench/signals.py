"""What it costs to see everything: two installations side by side, one with logs as JSON, metrics that are scraped and traces for a collector, one without.

Both are up all the time, each with engine, dashboard and database of its own, and take turns of about a second's work, a pair after the other and the
order turned round each time, so that whatever else the machine does meets both. What counts is the ratio within a pair: the median of all pairs, and
the interval in which it lies with a certainty of 95 %, by order statistics, which supposes nothing of how the pairs are spread.

- The rate is that of `tasker bench`: from a turn's first claim to its last completion. In it are the lines, the handlers' current spans, scrapes, and the
  spans that are told meanwhile, at the pace that the engine grants them under load. Not in it are those told afterwards.
- The processor time of a turn, of engine, dashboard and database, begins with the submission and ends when every span of the turn has come: all is in it.
  A turn without any rests as long after its work as the last one with them took to tell, so counting and indexing after the work are in both alike.
- The metrics are scraped every five seconds of the work with, so within a turn, and one in several: rests, which are long beside the work, would multiply their
  share in a step. While one installation has its turn, the other only does what an idle one does.
- The collector keeps what it gets and reads it after the work: what a collector does with the spans is not measured.
"""

from __future__ import annotations

import itertools
import math
import os
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, LiteralString, NamedTuple

from engine import tasks
from engine.bench import flows
from engine.bench.document import load, surroundings
from engine.bench.place import BULK_SECONDS, throwaway_database
from engine.bench.processor import parent, tree_seconds
from engine.bench.workloads import throughput
from engine.db import Database
from engine.errors import TaskerError
from engine.settings import Settings

GOAL: Final = 0.10
DOUBT: Final = 0.05
FEWEST: Final = 6
"""Pairs from which on their least and most have the certainty that is asked for."""
RUNNER = "processes"
SCRAPE_SECONDS, TICK_SECONDS = 5.0, 0.1
TELLING_SECONDS = 120.0
SHAPES = {"W1": "chain_of_5", "W2": "diamond_of_4", "W3": "fan_of_1000"}
STEPS = {"W1": 5, "W2": 6, "W3": 1001}
COUNTS: Final = {"W1": 2_000, "W2": 1_600, "W3": 10}
"""Tasks of a turn: about ten thousand steps."""
ON = {"TASKER_LOG_FORMAT": "json", "TASKER_LOG_LEVEL": "info", "TASKER_TRACES": "on"}
OFF = {"TASKER_LOG_FORMAT": "text", "TASKER_LOG_LEVEL": "critical", "TASKER_TRACES": "off"}


class Clocked(NamedTuple):
    """What one turn took: steps in a second, milliseconds of processor time a step, and which part of its spans was told before the work was done."""

    rate: float
    processor: float
    told: float


class Pair(NamedTuple):
    """Two turns that followed each other."""

    off: Clocked
    on: Clocked

    @property
    def lost(self) -> float:
        """The share of the rate that is lost."""
        return 1 - self.on.rate / self.off.rate

    @property
    def more(self) -> float:
        """The share of processor time that comes on top; 0 where there is no /proc to tell it."""
        return self.on.processor / self.off.processor - 1 if self.off.processor else 0.0


class Installation(NamedTuple):
    """One that is up: its database, the processes whose trees are its engine, its dashboard and its server, and where its metrics are."""

    db: Database
    roots: tuple[int, ...]
    metrics: str

    def processor(self) -> float:
        """Seconds that it has had so far."""
        return sum(map(tree_seconds, self.roots))


def run(settings: Settings, *, rounds: int, progress: Callable[[str], None], counts: Mapping[str, int] = COUNTS) -> dict[str, Any]:
    """For each workload, and for the pairs of all: rates and processor time on and off, what is lost and what comes on top, and how sure that is.

    Raises `TaskerError` when a span is missing in the end.
    """
    facts = surroundings()
    with _collector() as collector, _up(settings, OFF, collector) as off, _up(settings, ON, collector) as on, _scraper(on) as scraper:
        facts["postgresql"] = on.db.value("select current_setting('server_version')")
        taken = _taken(_Turns(off, on, collector, scraper, counts), rounds, progress)
    found = {key: compared(pairs) for key, pairs in {**taken, "all": [*itertools.chain(*taken.values())]}.items()}
    return {**facts, "load_after": load(), "goal": GOAL, "rounds": rounds, "workloads": found, "spans": collector.count}


def _taken(turns: _Turns, rounds: int, progress: Callable[[str], None]) -> dict[str, list[Pair]]:
    progress("both start")
    for key in SHAPES:
        turns.pair(key, on_first=True)  # handlers loaded, statements prepared, paces known
    taken: dict[str, list[Pair]] = {key: [] for key in SHAPES}
    for number in range(rounds):
        progress(f"pairs {number + 1} of {rounds}")
        for key, pairs in taken.items():
            pairs.append(turns.pair(key, on_first=number % 2 == 0))
    return taken


class _Turns:
    """Who works when, and how long who rests."""

    def __init__(self, off: Installation, on: Installation, collector: _Sink, scraper: _Scraper, counts: Mapping[str, int]) -> None:
        self._off, self._on, self._collector, self._scraper, self._counts = off, on, collector, scraper, counts
        self._rest_seconds = 0.0

    def pair(self, key: str, *, on_first: bool) -> Pair:
        """Both do the workload, one after the other."""
        if on_first:
            on = self._with(key)
            return Pair(self._without(key), on)
        return Pair(self._without(key), self._with(key))

    def _with(self, key: str) -> Clocked:
        self._collector.forget()
        return self._turn(self._on, key, self._scraper.at_work, self._until_told)

    def _without(self, key: str) -> Clocked:
        return self._turn(self._off, key, nullcontext, self._rest)

    def _turn(self, here: Installation, key: str, work: Callable[[], AbstractContextManager[None]], rest: Callable[[int], float]) -> Clocked:
        count, spent = self._counts[key], here.processor()
        newest = here.db.value("select coalesce(max(task_no), 0) from tasker_task")
        with work():
            rate = throughput(here.db, SHAPES[key], count)
        told = rest(_endings(here.db, newest))
        return Clocked(rate, (here.processor() - spent) * 1000 / (count * STEPS[key]), told)

    def _until_told(self, wanted: int) -> float:
        begun = time.monotonic()
        told = self._collector.wait_for(wanted)
        self._rest_seconds = time.monotonic() - begun
        return told

    def _rest(self, _: int) -> float:
        time.sleep(self._rest_seconds)
        return 0.0


def _endings(db: Database, newest: int) -> int:
    """How many tasks and attempts have ended since: each is a span."""
    query: LiteralString = """
        select (select count(*) from tasker_task t where t.task_no > %(newest)s)
             + (select count(*) from tasker_history h where h.task_no > %(newest)s and h.step_no is not null and h.from_state = 2 and h.to_state in (3, 4, 5, 6))
    """
    return int(db.value(query, {"newest": newest}))


# ---- what the pairs say


def compared(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Medians of the turns and of the pairs, between which values those of the pairs lie, and whether the goal is kept, missed, or neither is sure."""
    lost, more = [pair.lost for pair in pairs], [pair.more for pair in pairs]
    return {
        "pairs": len(pairs),
        "off_steps_per_s": round(statistics.median(pair.off.rate for pair in pairs)),
        "on_steps_per_s": round(statistics.median(pair.on.rate for pair in pairs)),
        **_median("lost", lost),
        "off_processor_ms": round(statistics.median(pair.off.processor for pair in pairs), 4),
        "on_processor_ms": round(statistics.median(pair.on.processor for pair in pairs), 4),
        **_median("more_processor", more),
        "told_at_once": round(statistics.median(pair.on.told for pair in pairs), 3),
    }


def _median(name: str, values: Sequence[float]) -> dict[str, Any]:
    low, high = interval(values)
    return {name: round(statistics.median(values), 3), f"{name}_low": round(low, 3), f"{name}_high": round(high, 3), f"{name}_goal": _verdict(low, high, len(values))}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Between which of the values the median of all that might be measured lies, with a certainty of 95 %; less than that with fewer than six."""
    ordered, skipped = sorted(values), _skipped(len(values))
    return ordered[skipped], ordered[-1 - skipped]


def _skipped(count: int) -> int:
    """How many at either end can be left out: each value is below the median or above it like a coin that is tossed."""
    chances = itertools.accumulate(math.comb(count, number) * 0.5**count for number in range(count))
    return max(0, sum(chance <= DOUBT / 2 for chance in chances) - 1)


def _verdict(low: float, high: float, count: int) -> str:
    if count < FEWEST:
        return "open"
    if high <= GOAL:
        return "kept"
    return "missed" if low > GOAL else "open"


def print_report(report: dict[str, Any]) -> None:
    """The table, as `docs/observability.md` has it."""
    print(f"| {report['rounds']} pairs of | steps/s without | with | lost, median | between | goal | processor ms/step without | with | more, median | between | goal | spans told at once |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for key, row in report["workloads"].items():
        processor = f"{row['off_processor_ms']:.3f} | {row['on_processor_ms']:.3f} | {_shown(row, 'more_processor')}"
        print(f"| {key} | {row['off_steps_per_s']:,} | {row['on_steps_per_s']:,} | {_shown(row, 'lost')} | {processor} | {row['told_at_once']:.0%} |")
    print(f"All {report['spans']:,} spans came.")


def _shown(row: dict[str, Any], name: str) -> str:
    return f"{row[name]:.1%} | {row[f'{name}_low']:.1%} to {row[f'{name}_high']:.1%} | {row[f'{name}_goal']}"


# ---- what is up


@contextmanager
def _up(settings: Settings, variables: Mapping[str, str], collector: _Sink) -> Iterator[Installation]:
    """An installation with these variables, in a database of its own."""
    with throwaway_database(settings) as url, _opened(url) as db:
        environment = {**os.environ, **variables, "TASKER_DATABASE_URL": url, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        with _process(environment, "engine", "--runner", RUNNER, "--handlers", "engine.bench.flows") as engine, _process(environment, "web", "--port", "0") as web:
            server = parent(int(db.value("select pg_backend_pid()")))  # none on another machine
            yield Installation(db, (engine.pid, web.pid, *filter(None, [server])), f"{_address(web)}/metrics")


@contextmanager
def _opened(url: str) -> Iterator[Database]:
    """The database with the workflows that are measured."""
    db = Database(url, max_size=2, call_seconds=BULK_SECONDS)
    try:
        for flow in (flows.w1, flows.w2, flows.w3):
            tasks.register_definition(db, flow.definition)
        yield db
    finally:
        db.close()


@contextmanager
def _process(environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", "engine.cli", *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def _address(web: subprocess.Popen[bytes]) -> str:
    assert web.stdout
    line = web.stdout.readline().decode()
    if not line.startswith("Dashboard: "):
        raise TaskerError("the bench's dashboard did not start")
    return line.split()[1]


class _Scraper(threading.Thread):
    """Asks for the metrics again and again, but only while the installation works; the time between does not count."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._working, self._over = threading.Lock(), threading.Event()
        self._working.acquire()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """The installation works; a scrape that is under way at the end belongs to it. Raises `TaskerError` when a scrape has failed."""
        self._working.release()
        try:
            yield
        finally:
            self._working.acquire()
        if not self.is_alive():
            raise TaskerError("the metrics could not be scraped")

    def run(self) -> None:
        """Until `end`."""
        waited = 0.0
        while not self._over.wait(TICK_SECONDS):
            with self._working:
                waited += TICK_SECONDS
                if waited >= SCRAPE_SECONDS and not self._over.is_set():
                    waited = 0.0
                    self._ask()

    def _ask(self) -> None:
        with urllib.request.urlopen(self._url, timeout=30) as answer:
            answer.read()

    def end(self) -> None:
        """No more."""
        self._over.set()
        self._working.release()
        self.join()


@contextmanager
def _scraper(of: Installation) -> Iterator[_Scraper]:
    scraper = _Scraper(of.metrics)
    scraper.start()
    try:
        yield scraper
    finally:
        scraper.end()


class _Sink(ThreadingHTTPServer):
    """Takes what a collector would take, and reads it only when asked to: its work is not the engine's, and not to be measured."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.count = 0
        self.forget()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def forget(self) -> None:
        """A new turn begins."""
        self.bodies: list[bytes] = []
        self._sizes: list[int] = []
        self._ids: set[bytes] = set()

    def wait_for(self, wanted: int) -> float:
        """Every span of the turn has come, each once; which part of them was here at once. Raises `TaskerError` when that does not happen."""
        at_once, deadline = len(self.bodies), time.monotonic() + TELLING_SECONDS
        while (had := self._read()) < wanted and time.monotonic() < deadline:
            time.sleep(0.05)
        if had != wanted:
            raise TaskerError(f"the collector had {had:,} spans of {wanted:,}")
        self.count += had
        return sum(self._sizes[:at_once]) / wanted

    def _read(self) -> int:
        """How many different spans of this turn there are so far."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        for body in self.bodies[len(self._sizes) :]:
            request = ExportTraceServiceRequest.FromString(body)
            ids = [span.span_id for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]
            self._ids.update(ids)
            self._sizes.append(len(ids))
        return len(self._ids)


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
