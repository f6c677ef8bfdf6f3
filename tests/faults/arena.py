"""A whole installation that may be maltreated: a PostgreSQL of its own, engines and a dashboard as processes, each behind a proxy of its own, and a client.

The client keeps a list of what was accepted. Whatever was asked with an uncertain outcome is asked again with the same key.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from checker import FINAL, Evidence, Violation, assert_none, broken_rules, check, read_records
from footprint import Footprint
from ledger import Ledger, Run
from proxy import Proxy
from visitors import Visitors

from engine import migrate, tasks
from engine.db import Database
from engine.embedded import EmbeddedServer, ensure_server, stop_server
from engine.errors import TaskerError
from engine.requests import TaskRequest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

SERVER = {"shared_buffers": "64MB", "max_connections": "120"}
LEASE_SECONDS = 3
GRACE_SECONDS = 5
CONCURRENCY = 6
POLL_SECONDS = 0.2
STUTTER_SECONDS = 1.0
"""What one step of several may wait beyond two rounds of the poll: on two cores that others use too, a process is sometimes not given any for so long."""
LONGEST_WAIT_SECONDS = 2 * POLL_SECONDS + STUTTER_SECONDS
PATIENCE_SECONDS = 60.0
HEARING_SECONDS = 45.0
SAMPLE_SECONDS = 3.0

DASHBOARD = "dashboard"
"""The target of what only its visitors meet."""

T = TypeVar("T")


def until(look: Callable[[], T], what: str, seconds: float = PATIENCE_SECONDS) -> T:
    """The first true answer. Raises AssertionError when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (answer := look()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.02)
    return answer


class Beside(threading.Thread):
    """What is done beside something else, begun at once. Nobody sees a thread die: `end` waits for it and raises what it died of, or that it goes on."""

    def __init__(self, act: Callable[..., object], *args: object) -> None:
        super().__init__(target=act, args=args, daemon=True)
        self._died_of: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            super().run()
        except BaseException as error:
            self._died_of = error

    def end(self, seconds: float = PATIENCE_SECONDS) -> None:
        self.join(seconds)
        if self._died_of is not None:
            raise self._died_of
        assert not self.is_alive(), f"not done after {seconds:g} s more"


@dataclass(slots=True)
class FaultRecord:
    """One fault that was injected, into one engine, all of them or the dashboard, when it began and ended (monotonic), and how much it found under way.

    That is executions; of the dashboard, requests of its visitors while it lasted.
    """

    kind: str
    target: str
    began: float
    found: int
    ended: float = 0.0

    def hit(self, runs: Sequence[Run]) -> int:
        """How much was under way where it began, or was begun there while it lasted."""
        there = (run for run in runs if self.target in (run.engine, "all"))
        return self.found + sum(self.began <= run.start <= self.ended for run in there)

    def as_json(self, since: float, runs: Sequence[Run]) -> dict[str, Any]:
        times = {"at": round(self.began - since, 2), "seconds": round(self.ended - self.began, 2)}
        return {"kind": self.kind, "target": self.target, "hit": self.hit(runs)} | times


@dataclass(frozen=True, slots=True)
class Where:
    """Where an engine runs: behind which address of this machine, in what surroundings, and from which copy of the code."""

    host: str = "127.0.0.1"
    prefix: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    code: Path = ROOT


HERE_AND_NOW = Where()


class EngineProcess:
    """`tasker engine` behind its own proxy; `label` goes into the ledger."""

    def __init__(self, arena: Arena, label: str, where: Where) -> None:
        self.arena, self.label = arena, label
        self.proxy = Proxy(("127.0.0.1", arena.server.port), seed=arena.seed, host=where.host)
        self.log = arena.folder / f"{label}.log"
        environment = arena.environment(self.proxy.url(arena.server.url)) | {"FAULTS_ENGINE": label} | where.environment
        starter = [str(HERE / "buggy.py"), arena.bug] if arena.bug else ["-m", "engine.cli"]
        options = ["--lease", str(arena.lease), "--grace", str(arena.grace), "--concurrency", str(CONCURRENCY), "--runner", arena.runner]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [*where.prefix, sys.executable, *starter, "engine", *options], cwd=where.code, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        self.pid = self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def workers(self) -> list[int]:
        """The ids under which the database knows this process, by its name."""
        return self.arena.workers_of(self.pid)

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def end(self) -> None:
        """The process is gone, and its connections."""
        if self.alive:
            self.send(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        self.proxy.close()

    def said(self) -> str:
        return self.log.read_text(errors="replace")


class Arena:
    """The installation. `bug` names a mistake that the engines, or the database, are given on purpose."""

    def __init__(
        self, folder: Path, *, seed: int = 1, bug: str = "", runner: str = "processes", lease: float = LEASE_SECONDS, grace: float = GRACE_SECONDS, options: Mapping[str, str] = SERVER
    ) -> None:
        self.folder, self.seed, self.bug, self.runner = folder, seed, bug, runner
        self.random = random.Random(seed)
        self.lease, self.grace = lease, grace
        self.ledger = Ledger(folder / "ledger")
        self.run_id = f"{os.getpid()}-{time.monotonic_ns()}"
        self.options = options
        self.server: EmbeddedServer = ensure_server(folder / "data", options=options)
        migrate.upgrade(self.server.url)
        self.engines: list[EngineProcess] = []
        self.faults: list[FaultRecord] = []
        self.accepted: dict[str, str] = {}
        self.uncertain = 0
        self.touched: dict[int, float] = {}
        self.drained: dict[int, float] = {}
        self.samples: list[str] = []
        self.outages: list[tuple[float, float]] = []
        self.offsets: list[float] = [0.0]
        self.client_proxy = Proxy(("127.0.0.1", self.server.port))
        self.client = Database(self.client_proxy.url(self.server.url), max_size=2, application_name="faults client", call_seconds=5)
        self.began = time.monotonic()
        self.wall = time.time() - self.began
        self._judged = self._looked_at = 0
        self._told: set[Violation] = set()
        self._engine_number = 0
        self._key_numbers = count(1)
        self._web: subprocess.Popen[bytes] | None = None
        self.cookie: dict[str, str] = {}
        self.web_proxy: Proxy | None = None
        self.web_url, self.web_pid = "", 0
        self.visitors = Visitors(self)
        self.footprint = Footprint(self)

    # ---- the stage

    def environment(self, url: str) -> dict[str, str]:
        return {
            **os.environ,
            "TASKER_DATABASE_URL": url,
            "TASKER_HANDLERS": str(HERE / "handlers"),
            "TASKER_ENV": "development",
            "FAULTS_LEDGER": str(self.ledger.file),
            "FAULTS_RUN": self.run_id,
            "FAULTS_CLOCK": str(int(self.wall * 1e9)),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def start_engines(self, count: int) -> None:
        """So many engines run and have begun to claim."""
        started = [self.start_engine() for _ in range(count - sum(engine.alive for engine in self.engines))]
        for engine in started:
            until(lambda engine=engine: engine.workers() or not engine.alive, f"{engine.label} to come up")
            assert engine.alive, engine.said()

    def start_engine(self, where: Where = HERE_AND_NOW) -> EngineProcess:
        self._engine_number += 1
        engine = EngineProcess(self, f"engine-{self._engine_number}", where)
        self.engines.append(engine)
        return engine

    def exchange_engines(self, count: int) -> None:
        """So many engines run at which no fault was aimed yet."""
        for engine in self.living():
            self.touch([engine], time.time())
            engine.end()
        self.start_engines(count)

    def living(self) -> list[EngineProcess]:
        return [engine for engine in self.engines if engine.alive]

    def engines_at_work(self) -> set[str]:
        """The labels of engines on which something runs."""
        return {run.engine for run in self.ledger.running()}

    def workers_of(self, pid: int) -> list[int]:
        with suppress(psycopg.Error), self.direct() as conn:
            return [row[0] for row in conn.execute("select worker_id from tasker_worker where name like %s order by 1", [f"%:{pid}"]).fetchall()]
        return []

    @contextmanager
    def direct(self) -> Iterator[psycopg.Connection[Any]]:
        """A superuser's connection that no fault touches but the server's own death."""
        with psycopg.connect(f"{self.server.admin_url.rpartition('/')[0]}/tasker", autocommit=True, connect_timeout=5) as conn:
            yield conn

    def start_web(self, *, watched: bool = True, code: Path = ROOT) -> None:
        """The dashboard answers, and where it is watched somebody comes four times a second from now on."""
        self.web_proxy = Proxy(("127.0.0.1", self.server.port))
        log = self.folder / "web.log"
        with log.open("ab") as output:
            self._web = subprocess.Popen(
                [sys.executable, "-m", "engine.cli", "web", "--port", "0"],
                cwd=code, env=self.environment(self.web_proxy.url(self.server.url)), stdout=subprocess.PIPE, stderr=output, start_new_session=True,
            )  # fmt: skip
        assert self._web.stdout is not None
        line = self._web.stdout.readline().decode()
        self.web_url, self.web_pid = line.rpartition(" ")[2].strip(), self._web.pid
        assert self.web_url.startswith("http"), log.read_text()
        # engines with a mistake import this module too, and know nothing of the tests
        from signed_in import cookie_of, token_for

        straight = f"{self.server.admin_url.rpartition('/')[0]}/tasker"
        self.cookie = self.cookie or cookie_of(straight)
        if watched:
            self.visitors.begin(self.cookie, token_for(straight))

    def kill_web(self) -> None:
        """The dashboard's process is gone at once, and its way to the database."""
        if self._web is not None and self.web_proxy is not None:
            self._web.kill()
            self._web.wait()
            self.web_proxy.close()
            self._web = self.web_proxy = None

    def end(self) -> None:
        """No process and no folder is left."""
        self.visitors.end()
        for engine in self.engines:
            engine.end()
        self.kill_web()
        self.client.close()
        self.client_proxy.close()
        stop_server(self.folder / "data")
        shutil.rmtree(self.folder / "data", ignore_errors=True)

    def longest_call(self) -> float:
        """The longest time in which a call to the database had no answer and was not given up."""
        return max(proxy.longest_call for proxy in self.proxies())

    def refusals(self) -> Counter[str]:
        """With which codes the server refused something that engines asked, and how often."""
        return Counter(code for engine in self.engines for code in engine.proxy.refusals)

    def proxies(self) -> list[Proxy]:
        """All there were, with those of engines that have ended."""
        return [self.client_proxy, *(engine.proxy for engine in self.engines), *([self.web_proxy] if self.web_proxy else [])]

    @property
    def has_web(self) -> bool:
        return self._web is not None

    def set_clock(self, seconds: float) -> None:
        """The database's clock is so far ahead of the true one, for every session at once."""
        self.offsets.append(seconds)
        with self.direct() as conn:
            conn.execute(f"alter system set tasker.clock_offset = '{seconds} seconds'".encode())
            conn.execute("select pg_reload_conf()")

    def _true_time(self, at: float) -> float:
        """What the clock was in truth when the database wrote this; its jumps are much longer than a run."""
        return next(at - offset for offset in self.offsets if self.began + self.wall - 60 < at - offset < time.time() + 60)

    # ---- the load

    def submit(self, name: str, count: int = 1, context: dict[str, Any] | None = None, **wishes: Any) -> list[str]:
        """So many tasks are accepted; asked for in tens, each ten until there is an answer. `wishes` are further fields of `TaskRequest`."""
        keys = [self.new_key(name) for _ in range(count)]
        for first in range(0, count, 10):
            self._submit(name, keys[first : first + 10], {"context": context or {}, **wishes})
        return keys

    def run_load(self, faults: Sequence[Callable[[Arena], None]], *, trees: int, pause: float = 0.3, at_once: int = 60, every: float = 0.0, patience: float = PATIENCE_SECONDS) -> None:
        """The faults happen one after the other while the engines are kept busy; every task of at least `trees` has ended afterwards, or waited too long.

        No more than ten tasks are begun in `every` seconds, and none while `at_once` are open.
        """
        over = threading.Event()
        beside = [Beside(self._feed, trees, at_once, every, over), Beside(self._sample, over)]
        self.visitors.may_create.set()
        try:
            until(self.ledger.running, "the load to run")
            for fault in faults:
                fault(self)
                time.sleep(pause)
        finally:
            over.set()
            for work in beside:
                work.join(patience)
            self.visitors.stop_creating(patience)
        for work in beside:
            work.end(0)
        self.visitors.assert_well()
        self.settle(patience)

    def settle(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Every accepted task has ended, or the patience has; which of the two, the checker finds out."""
        with suppress(AssertionError):
            until(lambda: not self.open_tasks(), "the tasks to end", seconds)

    def open_tasks(self) -> int:
        with suppress(psycopg.Error), self.direct() as conn:
            row = conn.execute("select count(*) from tasker_task where finished_at is null").fetchone()
            assert row is not None
            return int(row[0])
        return -1

    def waits_of_idle_engines(self, count: int = 5) -> list[float]:
        """How long a ready step waits when nothing else is to be done: one after the other, so that each has to be heard of or looked for.

        Where one has waited for too long no more are asked for: that decides.
        """
        waits: list[float] = []
        while len(waits) < count and max(waits, default=0.0) <= LONGEST_WAIT_SECONDS:
            keys = self.submit("slow", 1, {"seconds": 0})
            self.settle(20)
            waits.append(self._wait_of(keys[0]))
        return waits

    def _wait_of(self, key: str) -> float:
        """From the creation of the task to its start; very long where it has not begun."""
        with self.direct() as conn:
            row = conn.execute("select extract(epoch from started_at - created_at)::float8 from tasker_task where task_id = %s", [self.accepted[key]]).fetchone()
        return float(row[0]) if row is not None and row[0] is not None else 99.0

    def _feed(self, trees: int, at_once: int, every: float, over: threading.Event) -> None:
        given = 0
        while given < trees or not over.is_set():
            if self.open_tasks() < at_once:
                self.submit("tree", 10)
                given += 10
                time.sleep(every)
            else:
                time.sleep(0.05)

    def _sample(self, over: threading.Event) -> None:
        """What must hold at every commit, and what the installation takes up, is looked at in the middle of it all."""
        while not over.wait(SAMPLE_SECONDS):
            with suppress(psycopg.Error), self.direct() as conn:
                self.samples += broken_rules(conn) + self.footprint.look(conn)

    def new_key(self, name: str) -> str:
        """One that no other request has."""
        return f"{name}-{next(self._key_numbers)}"

    def _submit(self, name: str, keys: list[str], wishes: dict[str, Any]) -> None:
        requests = [TaskRequest(name, "faults", idempotency_key=key, correlation_id=key, **wishes) for key in keys]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                ids = tasks.submit_many(self.client, requests)
                break
            except (TaskerError, psycopg.Error):
                self.uncertain += 1
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        self.accepted.update(zip(keys, ids, strict=True))

    # ---- what is watched meanwhile

    @contextmanager
    def fault(self, kind: str, target: EngineProcess | None = None) -> Iterator[FaultRecord]:
        """Writes the fault down; what it is aimed at may lose its steps from now on."""
        began, aimed_at = time.time(), [target] if target else self.living()
        with self.hardship(kind, target) as record:
            self.touch(aimed_at, began)
            yield record
            self.touch(aimed_at, began)  # also those that signed on meanwhile

    @contextmanager
    def fault_of_dashboard(self, kind: str) -> Iterator[FaultRecord]:
        """Writes down what is aimed at the dashboard alone: no engine may lose its steps by it."""
        with self._written_down(FaultRecord(kind, DASHBOARD, time.monotonic(), 0)) as record:
            yield record
        record.found = self.visitors.under_way(record.began, record.ended)

    @contextmanager
    def hardship(self, kind: str, target: EngineProcess | None = None) -> Iterator[FaultRecord]:
        """Writes down what makes work slow and costs no engine its steps."""
        found = len(self.ledger.running(target.label if target else None))
        with self._written_down(FaultRecord(kind, target.label if target else "all", time.monotonic(), found)) as record:
            yield record

    @contextmanager
    def _written_down(self, record: FaultRecord) -> Iterator[FaultRecord]:
        self.faults.append(record)
        print(f"{record.began - self.began:8.1f} s  {record.kind} ({record.target})", flush=True)
        yield record
        record.ended = time.monotonic()

    def touch(self, engines: Sequence[EngineProcess], began: float) -> None:
        for worker in [worker for engine in engines for worker in engine.workers()]:
            self.touched.setdefault(worker, began)

    @contextmanager
    def outage(self) -> Iterator[None]:
        """The dashboard may say that it has no database."""
        began = time.monotonic()
        self.outages.append((began, float("inf")))
        place = len(self.outages) - 1
        try:
            yield
        finally:
            self.outages[place] = (began, time.monotonic() + 5.0)

    def in_outage(self, began: float, ended: float) -> bool:
        return any(first <= ended and began <= last for first, last in self.outages)

    # ---- the verdict

    def evidence(self, waits: Sequence[float] = (), heard: Sequence[int] | None = None) -> Evidence:
        with self.direct() as conn:
            self.samples += broken_rules(conn)
            records = read_records(conn, list(self.accepted.values()))
            records.moves = [replace(move, at=self._true_time(move.at)) for move in records.moves]
            self.samples += self.footprint.at_the_end(conn)
        runs = dict(self.ledger.by_place())
        self._looked_at = len(self.visitors.probes)
        probes = (*self.visitors.probes[self._judged : self._looked_at], *self.visitors.waiting())
        return Evidence(
            runs, records, self.accepted, self.touched, self.drained, waits=waits, usual_wait=2 * POLL_SECONDS, longest_wait=LONGEST_WAIT_SECONDS, probes=probes,
            samples=tuple(self.samples), heard=heard,
        )  # fmt: skip

    def heard(self) -> list[int]:
        """The ids of the events that the subscriber was told of, once it knows of all there are or has had the time to."""
        behind = "select count(*) from tasker_subscription s where s.event_id < (select 2 * max(event_id) from tasker_history)"
        with suppress(AssertionError), self.direct() as conn:
            until(lambda: conn.execute(behind).fetchone() == (0,), "the subscriber to hear of everything", HEARING_SECONDS)
        return [int(line.split(" ")[0]) for line in Path(f"{self.ledger.file}.heard").read_text().splitlines()]

    def verdict(self, *, hearing: bool = False) -> list[Violation]:
        """What the checker says of everything so far; of what the subscriber heard too, if there is the time to wait for it."""
        waits = self.waits_of_idle_engines() if self.living() else []
        return check(self.evidence(waits, self.heard() if hearing else None))

    def assert_kept(self) -> None:
        """Nothing was violated since this was asked last; else what was, with the logs' last lines."""
        violations = [found for found in self.verdict() if found not in self._told]
        self._told.update(violations)
        self._judged = self._looked_at
        self.samples.clear()
        assert_none(violations, f"seed {self.seed}\n{self.last_words()}")

    def last_words(self) -> str:
        logs = [*(engine.log for engine in self.engines), self.folder / "web.log"]
        return "\n".join(f"--- {log.stem}\n{log.read_text(errors='replace')[-800:]}" for log in logs if log.exists())

    def report(self, violations: Sequence[Violation]) -> dict[str, Any]:
        """What happened in the run, and how much of it."""
        runs = self.ledger.all()
        with self.direct() as conn:
            counts = conn.execute(
                "select (select count(*) from tasker_task where state = any(%s)), (select count(*) from tasker_step where state = any(%s))", [list(FINAL), list(FINAL)]
            ).fetchone()
        assert counts is not None
        hits = [fault for fault in self.faults if fault.hit(runs)]
        return {
            "seed": self.seed,
            "seconds": round(time.monotonic() - self.began),
            "tasks_accepted": len(self.accepted),
            "tasks_ended": counts[0],
            "steps_ended": counts[1],
            "executions": len(runs),
            "uncertain_requests": self.uncertain,
            "faults": len(self.faults),
            "kinds": len({fault.kind for fault in self.faults}),
            "share_that_hit_running_work": round(len(hits) / max(1, len(self.faults)), 3),
            "refused_for_deadlock": self.refusals()["40P01"],
            "refused_for_conflict": self.refusals()["40001"],
            "most_connections": self.footprint.most_connections,
            "dashboard_requests": len(self.visitors.probes),
            "dashboard_requests_by_kind": self.visitors.asked(),
            "dashboard_requests_a_second": round(len(self.visitors.probes) / (time.monotonic() - self.began), 2),
            "violations": [f"{violation.invariant} {violation.text}" for violation in violations],
            "schedule": [fault.as_json(self.began, runs) for fault in self.faults],
        }
