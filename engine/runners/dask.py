"""Runs handlers on a Dask cluster. Dask only runs code: what a step has come to, the database alone knows.

Each order goes to one named worker, whose place for this engine ends by itself when nothing is heard of the engine. So a worker that is lost
is unknown only until then: after that moment nothing of ours can still run there, and its steps are charged as after an engine's death.
"""

from __future__ import annotations

import itertools
import logging
import math
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from typing import Any, Final

from distributed.scheduler import KilledWorker

from engine.errors import TaskerError
from engine.journal import Said
from engine.runners import CANCELLED, FAILED, RELEASED, Deliver, Hear, Lookup, Outcome, StepCall, nobody
from engine.runners.dask_cluster import Certificates, Cluster, ClusterAway, ClusterRefused
from engine.runners.dask_worker import Terms
from engine.runners.failures import is_lacking, lost_failure
from engine.runners.orders import order
from engine.runners.pace import Paces
from engine.runners.place import Result, Timed
from engine.runners.seats import Seat, Seats

log = logging.getLogger(__name__)

BEAT_SECONDS: Final = 1.0
OPENING_SECONDS: Final = 0.1
AGAIN_SECONDS: Final = 2.0
HOLD_SECONDS: Final = 5.0  # what no worker takes goes back after that long
QUICK_SECONDS: Final = 0.01
AHEAD: Final = 24  # quick orders per thread, so that a worker need not wait for us
TOGETHER: Final = 12  # quick orders that are one call of the cluster, each of which costs more than they do
MOST_HELD: Final = 1_000


class _Job:
    """An order under way: its call, the seat it runs on, and once it is lost why and until when it may still run there."""

    __slots__ = ("call", "number", "seat", "verdict")

    def __init__(self, number: int, call: StepCall, seat: Seat) -> None:
        self.number, self.call, self.seat = number, call, seat
        self.verdict: Result | None = None


class DaskRunner:
    """Handlers run in processes beside the workers of the cluster at `scheduler`; at most `most` at a time, or as many as the workers have threads.

    An engine that is silent for `contact` seconds has lost its places, whatever they run.
    """

    may_wait = False

    def __init__(
        self,
        scheduler: str,
        *,
        sources: Sequence[str],
        most: int | None = None,
        grace: float = 30.0,
        contact: float = 10.0,
        certificates: Certificates | None = None,
    ) -> None:
        self.may_start_until = math.inf
        self._scheduler, self._certificates = scheduler, certificates
        self._most = most
        self._name = f"tasker-{uuid.uuid4().hex}"
        self._terms = Terms(tuple(sources), grace, contact)
        self._lock = threading.RLock()  # guards what follows; a future may be done as soon as it is made
        self._cluster: Cluster | None = None
        self._seats = Seats(contact)
        self._waiting: deque[tuple[float, StepCall]] = deque()
        self._jobs: dict[int, _Job] = {}
        self._cancelling: set[StepCall] = set()
        self._numbers = itertools.count(1)
        self._paces = Paces()
        self._trouble = ""
        self._stopping = self._started = False
        self._empty = threading.Event()
        self._over = threading.Event()
        self._questions: queue.SimpleQueue[tuple[int, str, int, list[str]] | None] = queue.SimpleQueue()

    # ---- the seam

    def start(self, deliver: Deliver, lookup: Lookup, hear: Hear = nobody) -> None:
        """Connected, or trying to. Raises `TaskerError` for a cluster that must not be used as it is set up."""
        self._deliver, self._lookup, self._hear = deliver, lookup, hear
        try:
            self._connect()
        except ClusterAway as error:
            self._met(error)
        self._started = True
        self._tender = threading.Thread(target=self._tend, name="tasker-dask", daemon=True)
        self._tender.start()
        threading.Thread(target=self._answer_questions, name="tasker-lookup", daemon=True).start()

    def submit(self, calls: list[StepCall]) -> None:
        """Take the calls; each goes to the worker with the most room that has what its step needs."""
        now = time.monotonic()
        with self._lock:
            stopping = self._stopping
            if not stopping:
                self._waiting.extend((now, call) for call in calls)
                self._place()
        if stopping:
            self._deliver([(call, RELEASED, "null") for call in calls])

    def room(self) -> int:
        """How many more calls are wanted now."""
        with self._lock:
            if self._stopping or self._cluster is None:
                return 0
            most = min(MOST_HELD, self._seats.threads * self._ahead())
            return max(0, min(most, self._most or most) - len(self._jobs) - len(self._waiting))

    def cancel(self, call: StepCall) -> None:
        """Asks the call to stop; its worker ends it after the grace time at the latest."""
        with self._lock:
            self._cancelling.add(call)
            waits = next((entry for entry in self._waiting if entry[1] is call), None)
            job = next((job for job in self._jobs.values() if job.call is call), None)
            if waits:
                self._waiting.remove(waits)
            elif job and self._cluster:
                self._cluster.cancel(job.seat.address, job.number)
        if waits:
            self._report([(call, CANCELLED, "null")])

    def stop(self, grace: float) -> None:
        """Releases what never started, waits up to `grace` seconds for the rest, ends what is left and releases it."""
        if not self._started:
            return
        with self._lock:
            self._stopping = True
            unstarted = [call for _, call in self._waiting]
            self._waiting.clear()
        self._report([(call, RELEASED, "null") for call in unstarted])
        if not self._wait_until_empty(grace):
            with self._lock:
                self._close_places()
            self._wait_until_empty(self._terms.contact + 2.0)
            self._give_up()
        with self._lock:
            self._close_places()
        self._questions.put(None)
        self._over.set()
        self._tender.join(2 * self._terms.contact)

    def standing(self) -> dict[str, Any]:
        """How the cluster is seen now, for the engines page: a state, what is wrong, and how much of it there is."""
        with self._lock:
            trouble = self._trouble or self._seats.trouble()
            waits = {need for _, call in self._waiting for need in _needs(call) if not self._seats.offers(need)}
            waits |= {f"handlers of {key}" for _, call in self._waiting if not self._seats.know_handlers(key := _key(call))}
            if not trouble and waits:
                trouble = f"steps wait for a worker with {', '.join(sorted(waits))}"
            state = "away" if self._cluster is None else "troubled" if trouble else "connected"
            return {"state": state, "at": self._scheduler, "said": trouble, "workers": self._seats.ready_count, "threads": self._seats.threads}

    # ---- the connection

    def _connect(self) -> None:
        cluster = Cluster(self._scheduler, self._certificates, self._name)
        try:
            cluster.check()
            cluster.hear(self._heard, self._asked)
        except BaseException:
            cluster.close()
            raise
        with self._lock:
            self._cluster, self._trouble = cluster, ""

    def _met(self, error: TaskerError) -> None:
        with self._lock:
            cluster, self._cluster = self._cluster, None
            is_news, self._trouble = str(error) != self._trouble, str(error)
            self._seats.leave_all()
        if is_news:
            log.warning("no step starts: %s", error)
        if cluster is not None:
            cluster.close()

    def _tend(self) -> None:
        while not self._over.wait(self._pause()):
            try:
                self._round()
            except (ClusterAway, ClusterRefused) as error:
                self._met(error)
            except Exception:
                log.exception("the Dask runner met an error and goes on")
            self._decide()
        if self._cluster:
            self._cluster.close()

    def _pause(self) -> float:
        with self._lock:
            if self._cluster is None:
                return AGAIN_SECONDS
            return OPENING_SECONDS if self._seats.is_opening else BEAT_SECONDS

    def _round(self) -> None:
        if self._cluster is None:
            self._connect()
            log.info("the scheduler %s is connected", self._scheduler)
        cluster = self._cluster
        assert cluster is not None
        if not cluster.is_connected:
            raise ClusterAway(f"the scheduler {self._scheduler} is gone")
        members = cluster.members()
        with self._lock:
            self._seats.know(members)
            times = self._seats.times(self.may_start_until)
        answers = cluster.beats(self._terms, times, self._terms.contact / 3)
        with self._lock:
            self._seats.learn(answers)
            self._place()

    # ---- orders go out

    def _ahead(self) -> int:
        return AHEAD if 0 < self._paces.mean < QUICK_SECONDS else 1

    def _is_quick(self, call: StepCall) -> bool:
        seconds = self._paces.of(call.task.definition).seconds[call.template_no]
        return seconds is not None and seconds < QUICK_SECONDS and not _needs(call)

    def _place(self) -> None:
        """What waits goes to the seats that have room for it."""
        if self._cluster is None or time.monotonic() > self.may_start_until:
            return
        waiting, self._waiting = self._waiting, deque()
        quick: dict[Seat, list[_Job]] = {}
        for entry in waiting:
            call = entry[1]
            is_quick = self._is_quick(call)
            seat = self._seats.best(_needs(call), _key(call), AHEAD if is_quick else 1)
            if seat is None:
                self._waiting.append(entry)
                continue
            seat.held += 1
            job = _Job(next(self._numbers), call, seat)
            if is_quick:
                quick.setdefault(seat, []).append(job)
            else:
                self._send(seat, [job])
        for seat, jobs in quick.items():
            size = min(TOGETHER, math.ceil(len(jobs) / seat.member.threads))
            for first in range(0, len(jobs), size):
                self._send(seat, jobs[first : first + size])

    def _send(self, seat: Seat, jobs: list[_Job]) -> None:
        assert self._cluster is not None
        try:
            future = self._cluster.submit(seat.address, seat.life, [order(job.number, job.call) for job in jobs], _needs(jobs[0].call))
        except Exception as error:  # the connection is gone, which the next beat finds out
            log.debug("orders could not be sent: %s", error)
            seat.held -= len(jobs)
            self._waiting.extend((time.monotonic(), job.call) for job in jobs)
            return
        self._jobs.update((job.number, job) for job in jobs)
        future.add_done_callback(lambda done: self._ended(jobs, done))

    # ---- outcomes come in

    def _ended(self, jobs: list[_Job], done: Future[list[Timed]]) -> None:
        try:
            results = done.result()
        except KilledWorker:
            for job in jobs:
                job.verdict = FAILED, lost_failure(job.seat.address)
        except (CancelledError, Exception) as error:
            self._lose(jobs, error)
        else:
            ended = list(zip(jobs, results, strict=True))
            lacking = [job for job, (kind, payload, _) in ended if is_lacking(kind, payload)]
            with self._lock:
                for job, (_, _, seconds) in ended:
                    self._learn(job.call, seconds)
            self._settle([(job, (kind, payload)) for job, (kind, payload, _) in ended if job not in lacking])
            if lacking:
                self._hand_on(lacking)

    def _hand_on(self, jobs: Sequence[_Job]) -> None:
        """Their worker has no handlers of them, another may; that one is given no more of the kind in this life."""
        with self._lock:
            jobs = [job for job in jobs if self._jobs.pop(job.number, None) is not None]
            for job in jobs:
                job.seat.held -= 1
                job.seat.lacks.add(_key(job.call))
                job.seat.trouble(f"it has no handlers of {_key(job.call)}")
            wanted = [job.call for job in jobs if not self._stopping and job.call not in self._cancelling]
            self._waiting.extend((time.monotonic(), call) for call in wanted)
            self._place()
        self._report([(job.call, RELEASED, "null") for job in jobs if job.call not in wanted])

    def _learn(self, call: StepCall, seconds: float | None) -> None:
        if seconds is not None:
            self._paces.of(call.task.definition).learn(call.template_no, int(seconds * 1e9))
            self._paces.learn(int(seconds * 1e9), 1)

    def _lose(self, jobs: list[_Job], error: BaseException) -> None:
        seat = jobs[0].seat
        for job in jobs:
            job.verdict = RELEASED, "null"
        if isinstance(error, CancelledError):  # the scheduler has forgotten it, its worker perhaps not
            with self._lock:
                self._seats.retire(seat)
                if self._cluster:
                    self._cluster.close_place(seat.address)
        else:
            log.warning("worker %s could not run a step, which goes back: %s", seat.address, error)
            seat.trouble(f"{type(error).__name__}: {error}")

    def _settle(self, ended: Sequence[tuple[_Job, Result]]) -> None:
        told: list[Outcome] = []
        with self._lock:
            for job, (kind, payload) in ended:
                if self._jobs.pop(job.number, None) is not None:
                    job.seat.held -= 1
                    told.append((job.call, kind, payload))
            self._place()
        self._report(told)

    def _report(self, outcomes: list[Outcome]) -> None:
        told = [(call, CANCELLED if call in self._cancelling and kind in (FAILED, RELEASED) else kind, payload) for call, kind, payload in outcomes]
        self._cancelling.difference_update(call for call, _, _ in outcomes)
        if told:
            self._deliver(told)
        if not self._jobs:
            self._empty.set()

    def _decide(self) -> None:
        """What is lost is settled once nothing of it can run any more; what no worker takes goes back."""
        now = time.monotonic()
        with self._lock:
            for job in self._jobs.values():
                if job.verdict is None and job.seat.is_lost(now):
                    job.verdict = (FAILED, lost_failure(job.seat.address)) if self._cluster else (RELEASED, "null")
            over = [(job, job.verdict) for job in self._jobs.values() if job.verdict and job.seat.is_over(now)]
            untaken = [call for since, call in self._waiting if now - since > HOLD_SECONDS]
            self._waiting = deque(entry for entry in self._waiting if now - entry[0] <= HOLD_SECONDS)
            self._seats.forget(now, {id(job.seat) for job in self._jobs.values()})
        self._settle(over)
        self._report([(call, RELEASED, "null") for call in untaken])

    # ---- what handlers say and ask

    def _heard(self, number: int, said: Said) -> None:
        if job := self._jobs.get(number):
            self._hear(job.call, said)

    def _asked(self, number: int, address: str, question: int, names: list[str]) -> None:
        self._questions.put((number, address, question, names))

    def _answer_questions(self) -> None:
        while (asked := self._questions.get()) is not None:
            number, address, question, names = asked
            job, cluster = self._jobs.get(number), self._cluster
            if job and cluster:
                cluster.answer(address, question, *self._found(job.call, names))

    def _found(self, call: StepCall, names: list[str]) -> tuple[dict[str, str] | None, str]:
        try:
            return self._lookup(call, names), ""
        except Exception as error:
            return None, str(error)

    # ---- the end

    def _wait_until_empty(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self._jobs and (left := deadline - time.monotonic()) > 0:
            self._empty.wait(min(left, 0.1))
            self._empty.clear()
        return not self._jobs

    def _close_places(self) -> None:
        if self._cluster:
            for address in self._seats.addresses:
                self._cluster.close_place(address)

    def _give_up(self) -> None:
        self._settle([(job, (RELEASED, "null")) for job in list(self._jobs.values())])


def _key(call: StepCall) -> str:
    return call.task.definition.key


def _needs(call: StepCall) -> dict[str, float]:
    return call.task.definition.steps[call.template_no].resources
