"""The companion process: an APScheduler loop around one worker. It polls readiness, keeps the lease, takes dead engines' steps back and drains on a signal.

Every duty has an executor of its own, so a slow one delays no other; LISTEN/NOTIFY only makes the poll come earlier.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence, Set
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal

import psycopg
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobExecutionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from psycopg import Connection

from engine import batches, large_results, leases, log_lines, objects, schedules, tasks
from engine.db import (
    CANCEL_CHANNEL,
    NEWS_CHANNEL,
    OUTAGE_LOG_SECONDS,
    READY_CHANNEL,
    Database,
    OutageLog,
    connect,
    is_conflict,
)
from engine.definition import TaskDefinition
from engine.errors import DatabaseUnavailable, DefinitionConflict, TaskerError
from engine.events import EventDelivery
from engine.finding import views, words
from engine.keeping.retention import Sweep
from engine.monitoring.own_figures import Figures
from engine.monitoring.store_watch import StoreWatch
from engine.outgoing import followers, notices
from engine.registry import HandlerRegistry
from engine.rollups import RollUp
from engine.runners import Runner, usual_concurrency
from engine.runners.processes import ProcessesRunner
from engine.runners.threads import ThreadsRunner
from engine.traces.tracing_process import open_tracing
from engine.worker import Worker

log = logging.getLogger("tasker.engine")

RunnerName = Literal["processes", "threads", "dask", "celery"]
POLL_SECONDS = 0.2
HEARTBEAT_SECONDS = 5.0
BEATS_PER_LEASE = 4
REAP_SECONDS = 0.25
ANNOUNCE_SECONDS = 0.05
CANCEL_SECONDS = 2.0
PLACES_SECONDS = 1.0
JOURNAL_SECONDS = 0.5
SCHEDULE_SECONDS = 0.5
EVENTS_SECONDS = 0.25
BATCH_SECONDS = 0.5
VIEWS_SECONDS = 2.0
NOTICES_SECONDS = 1.0
TRACES_SECONDS = 1.0
RETENTION_SECONDS = 10.0
STORE_SECONDS = 10.0
ROLLUP_SECONDS = 2.0
WORDS_SECONDS = 2.0
LISTEN_SECONDS = 5.0
ANEW_SECONDS = 1.0
GRACE_SECONDS = 30.0
MOST_CONFLICTS = 20


MakeRunner = Callable[[], Runner]
"""Of a runner that is chosen elsewhere, anew for each worker."""


class Engine:
    """One engine process: `start`, then `wait` until a signal or `stop`.

    It runs the steps of every definition in the registry, or `only` of these namespaces and workflows (`payments`, `orders/refund`), and of those that
    need labels the ones whose `labels` it has; several engines may share a database.
    """

    def __init__(
        self,
        url: str,
        registry: HandlerRegistry,
        *,
        runner: RunnerName = "processes",
        concurrency: int | None = None,
        sources: Sequence[str] = (),
        lease: timedelta = timedelta(seconds=30),
        grace: float = GRACE_SECONDS,
        only: Sequence[str] = (),
        labels: Sequence[str] = (),
        make_runner: MakeRunner | None = None,
    ) -> None:
        self.url = url
        self.registry = registry
        self.runner_name: RunnerName = runner
        self._make_runner = make_runner
        self.concurrency = concurrency or usual_concurrency()
        self.sources = tuple(sources)
        self.lease = lease
        self.grace = grace
        self.only = tuple(only)
        self.labels = tuple(labels)
        self.worker: Worker
        self._heir: ProcessesRunner | None = None
        self.figures = Figures()
        call_seconds = leases.call_seconds(lease)
        self._db = Database(url, max_size=4, application_name="tasker engine duties", call_seconds=call_seconds, transaction_seconds=2 * call_seconds, note=self.figures.of_duty)
        self._events_db = Database(url, max_size=2, application_name="tasker engine events", note=partial(self.figures.called, "events"))
        self._events = EventDelivery(self._events_db, registry)
        self._tracing = open_tracing(url)
        self._sweep = Sweep(self._db)
        self._unwritten: Set[str] = frozenset()
        self._rollup = RollUp(self._db)
        self._ways = notices.senders()
        self._stop = threading.Event()
        self._outage = OutageLog(log, "the engine cannot start anew yet")
        self._scheduler = _scheduler()
        self._scheduler.add_listener(lambda event: self.figures.late(event.job_id), EVENT_JOB_MAX_INSTANCES | EVENT_JOB_MISSED)
        self._scheduler.add_listener(self._tell_failure, EVENT_JOB_ERROR)
        self._failed_at: dict[str, float] = {}
        self._listener = threading.Thread(target=self._listen, name="tasker-listener", daemon=True)

    def start(self) -> None:
        """Definitions registered, claiming begun. Raises `DatabaseUnavailable`, `DefinitionConflict`, the runner's start error, or `TaskerError` for an object store that none is."""
        keeper = objects.keeper()
        self._store_watch = StoreWatch(keeper, self.figures) if keeper else None
        self.worker = self._new_worker()
        self._events.subscribe()  # before anything can happen that a new subscriber should hear of
        if self._tracing:
            self._tracing.begin(self._db)
        self.worker.start()
        self._listener.start()
        for name, duty, seconds in self._duties():
            self._scheduler.add_job(self._timed(name, duty), "interval", seconds=seconds, id=name, executor=name)
        self._scheduler.start()

    def wait(self) -> None:
        """Returns after `stop` was called or SIGTERM or SIGINT came; a lost lease is answered with a new worker."""
        while not self._stop.wait(0.2):
            if self.worker.lease_lost.is_set():
                log.warning("the lease of engine %s was lost; it starts anew", self.worker.who.worker_id)
                self._begin_anew()

    def stop(self) -> None:
        """Ask `wait` to return; safe in a signal handler."""
        self._stop.set()

    def drain(self) -> None:
        """Nothing new starts; what runs ends within the grace time or is handed back, uncharged."""
        self._stop.set()
        self.worker.draining = True
        self._scheduler.modify_job("heartbeat", next_run_time=datetime.now(UTC))  # so that others know at once
        self.worker.drain(self.grace)
        if self._heir is not None:
            self._heir.forget()
        self._scheduler.shutdown(wait=False)
        self._events.stop()
        self._events_db.close()
        if self._tracing:
            self._tracing.end()
        self._db.close()

    def run(self, on_start: Callable[[], object] = lambda: None) -> None:
        """The life of the process: start, work until a signal, drain. A second signal ends it at once; its steps are then taken back by others."""
        _on_signals(self._signalled)
        self.start()
        on_start()
        log.info("engine %s runs %d workflows with %d %s", self.worker.who.worker_id, len(self.worker.definitions), self.concurrency, self.runner_name)
        self.wait()
        log.info("engine %s drains, %d steps in hand", self.worker.who.worker_id, self.worker.running_count)
        self.drain()

    def _signalled(self, *_: Any) -> None:
        if self._stop.is_set():
            os._exit(1)
        self.stop()

    def _new_worker(self) -> Worker:
        definitions = register_definitions(self._db, self.registry, self.only)
        name = log_lines.name_engine()
        return Worker(
            self.url,
            self._new_runner(),
            definitions,
            name=name,
            runner_name=self.runner_name,
            concurrency=self.concurrency,
            lease=self.lease,
            figures=self.figures,
            labels=self.labels,
        )

    def _new_runner(self) -> Runner:
        if self._heir is not None:
            heir, self._heir = self._heir, None
            return heir
        if self._make_runner is not None:
            return self._make_runner()
        if self.runner_name == "threads":
            return ThreadsRunner(self.concurrency, grace=self.grace)
        return ProcessesRunner(self.concurrency, sources=self.sources, grace=self.grace)

    def _begin_anew(self) -> None:
        """Our lease ran out, so our steps may run elsewhere: stop what we run and start over under a new id."""
        former = self.worker.runner
        self._heir = former.heir() if isinstance(former, ProcessesRunner) else None
        self.worker.abandon()
        former.stop(0)
        while not self._stop.is_set():
            try:
                worker = self._new_worker()
                worker.start()
                self.worker = worker
                self._outage.over()
                return
            except (TaskerError, psycopg.Error) as error:
                self._outage.met(error)
                self._stop.wait(ANEW_SECONDS)

    # ---- duties of the loop

    def _tell_failure(self, event: JobExecutionEvent) -> None:
        """A duty met what it was not made for; it is told with where it came from, but not in each of its rounds."""
        now = time.monotonic()
        if now - self._failed_at.get(event.job_id, -OUTAGE_LOG_SECONDS) >= OUTAGE_LOG_SECONDS:
            self._failed_at[event.job_id] = now
            log.error("the duty %s failed and is tried again", event.job_id, exc_info=event.exception)

    def _duties(self) -> list[tuple[str, Callable[[], None], float]]:
        return [
            ("poll", self._poll, POLL_SECONDS),
            ("heartbeat", self._duty(lambda connection: self.worker.heartbeat(connection)), self._beat_seconds()),
            ("reap", self._duty(lambda connection: leases.reap_workers(connection, self.worker.who)), REAP_SECONDS),
            ("announce", self._announce, ANNOUNCE_SECONDS),
            ("places", self._duty(lambda connection: leases.sweep_places(connection)), PLACES_SECONDS),
            ("cancel", self._ask_to_stop, CANCEL_SECONDS),
            ("journal", self._keep_journal, JOURNAL_SECONDS),
            ("schedules", self._fire_due, SCHEDULE_SECONDS),
            ("batches", self._do_batches, BATCH_SECONDS),
            ("views", self._watch_views, VIEWS_SECONDS),
            ("notices", self._tell_notices, NOTICES_SECONDS),
            ("retention", self._drop_old, RETENTION_SECONDS),
            *([("store", self._store_watch.look, STORE_SECONDS)] if self._store_watch else []),
            *([("traces", self._tell_traces, TRACES_SECONDS)] if self._tracing else []),
            ("rollup", self._roll_up, ROLLUP_SECONDS),
            ("words", self._index_words, WORDS_SECONDS),
            *([("events", self._events.deliver_due, EVENTS_SECONDS)] if self._events.subscriptions else []),
        ]

    def _timed(self, name: str, duty: Callable[[], None]) -> Callable[[], None]:
        """The duty, whose calls of the database count by its name; a heartbeat counts itself, wherever it is made."""

        def timed() -> None:
            with self.figures.duty(name):
                duty()

        return duty if name == "heartbeat" else timed

    def _beat_seconds(self) -> float:
        return min(HEARTBEAT_SECONDS, self.lease.total_seconds() / BEATS_PER_LEASE)

    def _poll(self) -> None:
        self.worker.wake()
        if self.worker.is_full:
            self._look_for_neglected()

    def _look_for_neglected(self) -> None:
        self._duty(lambda connection: self.worker.look_for_neglected(connection))()

    def _ask_to_stop(self) -> None:
        with self.figures.duty("cancel"):  # the listener asks too
            self._duty(lambda connection: self.worker.ask_to_stop(connection))()

    def _keep_journal(self) -> None:
        """What attempts have said is written down, and told together with what became of them."""
        if self.worker.backlog:
            self._duty(lambda connection: self.worker.keep_journal(connection))()
            self.worker.news = False
            self._tell(NEWS_CHANNEL)

    def _fire_due(self) -> None:
        try:
            schedules.fire_due(self._db)
        except DatabaseUnavailable as error:
            log.debug("schedules have to wait: %s", error)
        except psycopg.Error as error:
            if not is_conflict(error):
                log.warning("schedules failed and are tried again: %s", error)

    def _do_batches(self) -> None:
        try:
            batches.run_due(self._db, self._stop)
        except DatabaseUnavailable as error:
            log.debug("batches have to wait: %s", error)
        except psycopg.Error as error:
            if not is_conflict(error):
                log.warning("a piece of a batch failed and is tried again: %s", error)

    def _watch_views(self) -> None:
        self._for_people(lambda: views.watch(self._db, self._stop))
        self._for_people(lambda: followers.tell_ended(self._db, self._stop))

    def _tell_notices(self) -> None:
        self._for_people(lambda: notices.deliver_due(self._db, self._ways, self._stop))

    def _for_people(self, work: Callable[[], object]) -> None:
        try:
            work()
        except DatabaseUnavailable as error:
            log.debug("alerts have to wait: %s", error)
        except psycopg.Error as error:
            if not is_conflict(error):
                log.warning("an alert failed and is tried again: %s", error)

    def _tell_traces(self) -> None:
        if self._tracing and not self._stop.is_set():
            self._tracing.ask(is_quiet=self.worker.is_at_rest)

    def _drop_old(self) -> None:
        try:
            dropped = self._sweep.go_on(self._stop)
            notices.drop_old(self._db)
            large_results.delete_left(self._db)
            self._tell_archives()
            if dropped.task_count:
                log.info("%d tasks with %d steps were dropped after their retention", dropped.task_count, dropped.step_count)
        except DatabaseUnavailable as error:
            log.debug("retention has to wait: %s", error)
        except psycopg.Error as error:
            log.warning("retention failed and is tried again: %s", error)

    def _tell_archives(self) -> None:
        """Once when an archive cannot be written; what it is stands in `tasker archive list`."""
        failures = dict(self._sweep.failures)
        for namespace in failures.keys() - self._unwritten:
            log.error("the archive of %s cannot be written, so nothing of it is dropped: %s", namespace, failures[namespace])
        self._unwritten = failures.keys()

    def _roll_up(self) -> None:
        try:
            self._rollup.go_on(self._stop)
        except DatabaseUnavailable as error:
            log.debug("counting has to wait: %s", error)
        except psycopg.Error as error:
            if not is_conflict(error):
                log.warning("counting failed and is tried again: %s", error)

    def _index_words(self) -> None:
        try:
            words.go_on(self._db, self._stop)
        except DatabaseUnavailable as error:
            log.debug("the search's index has to wait: %s", error)
        except psycopg.Error as error:
            if not is_conflict(error):
                log.warning("the search's index failed and is tried again: %s", error)

    def _announce(self) -> None:
        """What changed since the last round is told once, by one small statement of its own: a NOTIFY in every report would queue up the commits."""
        worker = self.worker
        if worker.more_ready:
            worker.more_ready = False
            self._tell(READY_CHANNEL)
        # a live page looks for the last time when it hears of a task's end; what the last attempts said must be there by then
        if worker.news and not worker.backlog:
            worker.news = False
            self._tell(NEWS_CHANNEL)

    def _tell(self, channel: str) -> None:
        self._duty(lambda connection: connection.execute("select pg_notify(%s, '')", (channel,)))()

    def _duty(self, work: Callable[[Connection[Any]], object]) -> Callable[[], None]:
        """The work on a connection of the pool; a database that is away is left to the flushers to report."""

        def duty() -> None:
            try:
                with self._db.connection() as connection:
                    work(connection)
            except DatabaseUnavailable as error:
                log.debug("a duty has to wait: %s", error)
            except psycopg.Error as error:
                if not is_conflict(error):
                    log.warning("a duty failed and is tried again: %s", error)

        return duty

    def _listen(self) -> None:
        """Wakes the worker when steps become ready and tells it of cancellations; while it is deaf, the poll does the same, later."""
        while not self._stop.is_set():
            try:
                with connect(self.url, application_name="tasker listener") as connection:
                    self._hear(connection)
            except (DatabaseUnavailable, psycopg.Error) as error:
                log.debug("the listener has to wait: %s", error)
                self._stop.wait(1)

    def _hear(self, connection: Connection[Any]) -> None:
        for channel in (READY_CHANNEL, CANCEL_CHANNEL):
            connection.execute(f"listen {channel}".encode())
        # what was announced while nobody listened
        self.worker.wake()
        self._ask_to_stop()
        while not self._stop.is_set():
            self.worker.heard_at = time.monotonic()
            heard = {notification.channel for notification in connection.notifies(timeout=LISTEN_SECONDS, stop_after=1)}
            if CANCEL_CHANNEL in heard:
                self._ask_to_stop()
            if READY_CHANNEL in heard:
                self.worker.claim()
            if not heard:
                connection.execute("select 1")


def register_definitions(db: Database, registry: HandlerRegistry, only: Sequence[str] = ()) -> dict[int, TaskDefinition]:
    """Every definition of the registry, or only of these namespaces and workflows, is known to the database; the database's ids of them.

    Raises `DefinitionConflict` with all of them that are in use there with other content: of the first MOST_CONFLICTS also with the differences.
    """
    known: dict[int, TaskDefinition] = {}
    conflicts: list[str] = []
    for definition in (each for each in registry.definitions() if is_among(each, only)):
        try:
            known[tasks.register_definition(db, definition)] = definition
        except DefinitionConflict as error:
            conflicts.append(str(error))
    if conflicts:
        raise DefinitionConflict("\n".join([*conflicts[:MOST_CONFLICTS], *(text.partition("\n")[0] for text in conflicts[MOST_CONFLICTS:])]))
    return known


def is_among(definition: TaskDefinition, only: Sequence[str]) -> bool:
    """Whether the definition is of one of these namespaces (`payments`) or workflows (`orders/refund`); none named: it is."""
    return not only or definition.namespace in only or f"{definition.namespace}/{definition.name}" in only


def _scheduler() -> BackgroundScheduler:
    duties = ("poll", "heartbeat", "reap", "announce", "places", "cancel", "journal", "schedules", "batches", "views", "notices", "retention", "rollup", "words", "events", "traces", "store")
    scheduler = BackgroundScheduler(
        executors={name: ThreadPoolExecutor(1) for name in duties},
        job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1},
        timezone="UTC",
    )
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)
    return scheduler


def _on_signals(handler: Callable[..., None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)
