"""Runs handlers in threads of this process: for tests, for embedding, and where every handler is known to behave.

A thread cannot be killed: a call that outlives its limit is reported and its thread abandoned, with another in its place.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from functools import partial
from typing import Final

from engine import logs
from engine.journal import Journal, Said
from engine.runners import CANCELLED, FAILED, RELEASED, Deliver, Hear, Lookup, StepCall, nobody
from engine.runners.failures import timeout_failure
from engine.runners.invoke import invoke
from engine.runners.pace import Paces

ROOM_SECONDS: Final = 0.030
MOST_TAKEN: Final = 1_000


class ThreadsRunner:
    """`concurrency` threads that run one call at a time each.

    A call that outlives its timeout, or `grace` seconds after its cancellation, is reported then; what it returns later is dropped.
    """

    may_wait = True

    def __init__(self, concurrency: int = 8, *, grace: float = 30.0) -> None:
        self.concurrency = concurrency
        self.grace = grace
        self.may_start_until = math.inf
        self._queue: queue.SimpleQueue[StepCall | None] = queue.SimpleQueue()
        # Whoever pops a call from one of these owns its outcome: one atomic step decides between a worker, the
        # watchdog, `cancel` and `stop`, without a lock per call.
        self._queued: dict[StepCall, bool] = {}
        self._running: dict[StepCall, tuple[float, threading.Thread]] = {}  # when to end it, and who runs it
        self._cancelling: dict[StepCall, float] = {}
        self._workers: set[threading.Thread] = set()
        self._paces = Paces()
        self._submitting = threading.Lock()
        self._next_look = math.inf
        self._look = threading.Event()
        self._worker_gone = threading.Event()
        self._stopping = False

    def start(self, deliver: Deliver, lookup: Lookup, hear: Hear = nobody) -> None:
        """Every thread waits for calls."""
        self._deliver, self._lookup, self._hear = deliver, lookup, hear
        logs.start_capture()
        for _ in range(self.concurrency):
            self._start_worker()
        threading.Thread(target=self._watch, name="tasker-watchdog", daemon=True).start()

    def submit(self, calls: list[StepCall]) -> None:
        """Take the calls; they start as threads become free."""
        with self._submitting:
            if not self._stopping:
                self._queued.update(dict.fromkeys(calls, True))
                for call in calls:
                    self._queue.put(call)
                return
        self._deliver([(call, RELEASED, "null") for call in calls])

    def room(self) -> int:
        """How many more calls are wanted now: one per thread, or as much quick work as fits in the next moments."""
        if self._stopping:
            return 0
        held = len(self._queued) + len(self._running)
        quick = self._paces.how_many(ROOM_SECONDS)  # not times the threads: the interpreter runs one at a time
        return max(0, min(MOST_TAKEN, self.concurrency + quick) - held)

    def cancel(self, call: StepCall) -> None:
        """Asks the call to stop; one that has not started ends at once, a running one after the grace time at the latest."""
        deadline = self._cancelling.setdefault(call, time.monotonic() + self.grace)
        if self._queued.pop(call, False):
            self._report(call, CANCELLED, "null")
        else:
            self._look_at(deadline)

    def standing(self) -> None:
        """Handlers run here."""

    def stop(self, grace: float) -> None:
        """Releases what never started and, after up to `grace` seconds, what is still running; its threads are abandoned."""
        with self._submitting:
            if not self._stopping:
                logs.stop_capture()
            self._stopping = True
        for call in list(self._queued):
            if self._queued.pop(call, False):
                self._report(call, RELEASED, "null")
        for _ in range(self.concurrency):
            self._queue.put(None)
        self._end_workers(time.monotonic() + grace)
        self._look.set()

    def _end_workers(self, deadline: float) -> None:
        while self._workers:
            left = deadline - time.monotonic()
            if left <= 0:
                for call in list(self._running):
                    self._end(call, RELEASED, "null")
            self._worker_gone.wait(left if left > 0 else 0.001)
            self._worker_gone.clear()

    # ---- the workers

    def _start_worker(self) -> None:
        worker = threading.Thread(target=self._work, name="tasker-step", daemon=True)
        self._workers.add(worker)
        worker.start()

    def _work(self) -> None:
        get, queued, worker = self._queue.get, self._queued, threading.current_thread()
        while (call := get()) is not None:
            if queued.pop(call, False) and not self._run(call, worker):
                return
        self._let_go(worker)

    def is_asked_to_stop(self, call: StepCall) -> bool:
        """Whether nobody waits for the call's result any more, or someone asked it to stop."""
        return call in self._cancelling or call not in self._running

    def hear(self, call: StepCall, said: Said) -> None:
        """What a call says counts until it is reported."""
        if call in self._running:
            self._hear(call, said)

    def _let_go(self, worker: threading.Thread) -> None:
        self._workers.discard(worker)
        self._worker_gone.set()

    def _run(self, call: StepCall, worker: threading.Thread) -> bool:
        task, running, clock = call.task, self._running, time.monotonic_ns
        definition = task.definition
        limit = definition.steps[call.template_no].timeout
        started = clock()
        if started * 1e-9 > self.may_start_until:
            self._report(call, RELEASED, "null")
            return True
        deadline = math.inf if limit is None else started * 1e-9 + limit
        running[call] = deadline, worker
        if deadline < self._next_look:
            self._look_at(deadline)
        kind, payload = invoke(
            definition, call.template_no, call.attempt, call.retry_limit, task.public_id, task.context_json,
            task.correlation_id, call.inputs, partial(self._lookup, call), _Contact(self, call), call.item, task.traceparent,
        )  # fmt: skip
        if running.pop(call, None) is None:
            return False  # reported long ago, and another thread is in this one's place
        self._paces.learn(clock() - started, 1)
        if self._cancelling:
            self._report(call, kind, payload)
        else:
            self._deliver([(call, kind, payload)])
        return True

    def _report(self, call: StepCall, kind: int, payload: str) -> None:
        if self._cancelling.pop(call, None) is not None and kind in (FAILED, RELEASED):
            kind = CANCELLED  # it ended because it was told to
        self._deliver([(call, kind, payload)])

    # ---- the watchdog

    def _watch(self) -> None:
        while not self._stopping or self._workers:
            self._look.wait(self._pause())
            self._look.clear()
            self._end_overdue()

    def _pause(self) -> float | None:
        return None if self._next_look == math.inf else max(0.0, self._next_look - time.monotonic())

    def _look_at(self, deadline: float) -> None:
        if deadline < self._next_look:
            self._next_look = deadline
            self._look.set()

    def _end_overdue(self) -> None:
        # Whoever adds a deadline from here on finds no look planned, and plans one.
        self._next_look = math.inf
        now = time.monotonic()
        for call, (deadline, _) in list(self._running.items()):
            if now >= self._cancelling.get(call, math.inf):
                self._end(call, CANCELLED, "null")
            elif now >= deadline:
                limit = call.task.definition.steps[call.template_no].timeout
                self._end(call, FAILED, timeout_failure(limit or 0.0))
            else:
                self._look_at(min(deadline, self._cancelling.get(call, math.inf)))
        self._forget_the_done(now)

    def _forget_the_done(self, now: float) -> None:
        for call, deadline in list(self._cancelling.items()):
            if now >= deadline and call not in self._running:
                self._cancelling.pop(call, None)

    def _end(self, call: StepCall, kind: int, payload: str) -> None:
        if (run := self._running.pop(call, None)) is not None:
            if not self._stopping:
                self._start_worker()
            self._report(call, kind, payload)
            self._let_go(run[1])


class _Contact:
    """What an attempt hears from the runner, and says to it."""

    __slots__ = ("_call", "_runner")

    def __init__(self, runner: ThreadsRunner, call: StepCall) -> None:
        self._runner, self._call = runner, call

    def is_set(self) -> bool:
        return self._runner.is_asked_to_stop(self._call)

    def open_journal(self) -> Journal:
        return Journal(partial(self._runner.hear, self._call))
