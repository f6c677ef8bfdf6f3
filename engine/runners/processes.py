"""Runs handlers in child processes: a crash, a hang or a full memory costs one child and one attempt, never the engine.

The worker submits calls; one thread here speaks with the children, watches their limits and hands outcomes back.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import queue
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from engine.journal import Line, Progress
from engine.runners import CANCELLED, FAILED, RELEASED, Deliver, Hear, Lookup, Outcome, StepCall, nobody, wire
from engine.runners.failures import crash_failure, describe_ending, timeout_failure
from engine.runners.pace import Pace, Paces
from engine.runners.process_link import HostProcess, Link, kill_group
from engine.runners.wire import Board, Message

log = logging.getLogger(__name__)

AHEAD_SECONDS: Final = 0.015  # estimated work that a child is given at once
ROOM_SECONDS: Final = 0.030  # estimated work per child that the runner asks for
MOST_AHEAD: Final = 128
MOST_TAKEN: Final = 1_000
SMALLEST_SHARE: Final = 0.0005  # less work than this is not worth waking another child for
ALONE_SECONDS: Final = 0.001  # results are not kept back while a step that may take longer runs
RECALL_SECONDS: Final = 0.1
LOOK_SECONDS: Final = 0.025
STUCK_SECONDS: Final = 1.0  # nothing was started for so long: others may take what waits here
AWAKE_SECONDS: Final = 1.0  # after the last call, so that a stream of single calls need not wake anyone
LOST_SECONDS: Final = 0.3  # between a closed connection and the report of the child's death
UNKILLABLE_SECONDS: Final = 1.0
LAST_WORDS_SECONDS: Final = 0.5
LISTENERS: Final = 2
FEW: Final = 2  # so many outcomes are worth an own report
LOOKUP_THREADS: Final = 2
SPAWN_AGAIN_SECONDS: Final = 0.5
HOST_AGAIN_SECONDS: Final = 1.0

Job = tuple[StepCall, float, Pace]


@dataclass(slots=True, eq=False)
class _Child:
    """The engine's view of one child process; `jobs` are the calls it holds, in the order it runs them."""

    slot: int
    link: Link
    host: HostProcess
    pid: int | None = None
    jobs: dict[int, Job] = field(default_factory=dict)
    load: float = 0.0
    stuck_at: int = 0  # the call it was running when the others were asked back
    verdict: tuple[int, int, str] | None = None  # call, kind and payload to report once it is dead
    lost_since: float | None = None
    killed_since: float | None = None
    ending_since: float | None = None
    cut_off: bool = False  # killed because it could no longer be heard
    served: bool = False

    def takes_more(self, budget: float) -> bool:
        """Whether another call would be started soon."""
        if self.killed_since is not None or self.lost_since is not None or self.ending_since is not None:
            return False
        return not self.jobs or (self.load < budget and len(self.jobs) < MOST_AHEAD and self.stuck_at not in self.jobs)


class ProcessesRunner:
    """`concurrency` child processes that load `sources` (modules, packages or folders with handlers).

    A call that outlives its timeout, or `grace` seconds after its cancellation, is ended with its process and everything that
    process had started. A child's death charges the one call it was running; the others go to another child.
    """

    def __init__(self, concurrency: int | None = None, *, sources: Sequence[str], grace: float = 30.0) -> None:
        self.concurrency = concurrency or max(2, os.cpu_count() or 2)
        self.grace = grace
        self.may_start_until = math.inf
        self.problems: list[str] = []
        self._sources = list(sources)
        self._lock = threading.Lock()  # guards everything below
        self._waiting: deque[StepCall] = deque()
        self._held = 0
        self._children: dict[int, _Child] = {}
        self._cancelling: dict[StepCall, float] = {}
        self._outcomes: list[Outcome] = []
        self._paces = Paces()
        self._numbers = itertools.count(1)
        self._questions: queue.SimpleQueue[tuple[_Child, int, StepCall, list[str]] | None] = queue.SimpleQueue()
        self._started = self._stopping = self._asleep = self._begun = self._has_heir = self._left_some = False
        self._former: ProcessesRunner | None = None
        self._stop_at = math.inf
        self._spawn_at = self._host_at = self._next_look = self._active_at = self._moved_at = 0.0
        self._finished = threading.Event()
        self._listening = threading.Lock()
        self._listener = 0
        self._threads: list[threading.Thread] = []

    # ------------------------------------------------------------------ the seam

    @property
    def may_wait(self) -> bool:
        """Whether who delivers may take its time: it is not the one that listens to the children."""
        return self._listener != threading.get_ident()

    def begin(self) -> None:
        """A process of its own loads the handlers while the caller does other things; `start` waits for it."""
        self._board = Board(4 * self.concurrency + 16)
        self._host = HostProcess(self._sources, self._board)
        self._begun = True

    def heir(self) -> ProcessesRunner:
        """A runner for when this one has stopped: it goes on with the process that has loaded the handlers. To be asked for before `stop`."""
        self._has_heir = True
        heir = ProcessesRunner(self.concurrency, sources=self._sources, grace=self.grace)
        heir._former = self
        return heir

    def forget(self) -> None:
        """What `begin` began, or a former runner left, has ended, if `start` never came."""
        if self._former is not None and not self._begun:
            self._inherit(self._former)
        if self._begun and not self._started:
            self._end_host()

    def start(self, deliver: Deliver, lookup: Lookup, hear: Hear = nobody) -> None:
        """Loads the handlers and starts the children; returns when calls can be taken.

        A source that fails is logged with its cause, and kept in `problems`; the others load. Raises TaskerError when none
        loads or when one ends the process that loads it; then nothing is left running.
        """
        self._deliver, self._lookup, self._hear = deliver, lookup, hear
        if self._former is not None and not self._begun:
            self._inherit(self._former)
        if not self._begun:
            self.begin()
        self._selector = selectors.DefaultSelector()
        self._await_handlers()
        self._selector.register(self._host.socket, selectors.EVENT_READ, self._hear_host)
        self._awake, self._waker = socket.socketpair()
        for end in (self._awake, self._waker):
            end.setblocking(False)
        self._selector.register(self._awake, selectors.EVENT_READ, lambda mask: self._awake.recv(4096))
        self._populate(time.monotonic())
        self._started = True
        for number in range(LISTENERS):
            self._threads.append(threading.Thread(target=self._run, name=f"tasker-processes-{number}", daemon=True))
            self._threads[-1].start()
        for number in range(LOOKUP_THREADS):
            threading.Thread(target=self._answer_questions, name=f"tasker-lookup-{number}", daemon=True).start()

    def _inherit(self, former: ProcessesRunner) -> None:
        """Its process and board are ours, unless that process is no more, or one of its children could not be ended and still writes there."""
        self._former = None
        if former._host.ended or former._left_some:
            former._end_host()
            return
        self._host, self._board, self._begun = former._host, former._board, True

    def _end_host(self) -> None:
        self._host.close()
        self._board.close()

    def _await_handlers(self) -> None:
        try:
            self._host.wait_until_loaded()
            self.problems = self._host.problems
        except BaseException:
            self.forget()
            self._begun = False
            self._selector.close()
            raise
        for problem in self.problems:
            log.error("handler processes run without %s", problem)

    def submit(self, calls: list[StepCall]) -> None:
        """Take the calls; those that a free child can start now are on their way when this returns."""
        with self._lock:
            if not self._stopping:
                self._held += len(calls)
                if not self._waiting:
                    self._moved_at = time.monotonic()
                self._waiting.extend(calls)
                self._dispatch()
                self._stir()
                return
        self._deliver([(call, RELEASED, "null") for call in calls])

    def room(self) -> int:
        """How many more calls are wanted now: one per child, or as much quick work as fits in the next moments."""
        with self._lock:
            if self._stopping or self._host.ended or not self._host.loaded:
                return 0
            loads = [child.load for child in self._children.values() if child.stuck_at not in child.jobs]
            quick = self._paces.how_many(ROOM_SECONDS * len(loads) - sum(loads)) - len(self._waiting)
            return max(0, min(MOST_TAKEN - self._held, max(self.concurrency - self._held, quick)))

    def cancel(self, call: StepCall) -> None:
        """Asks the call to stop; one that has not started ends at once, a running one after the grace time at the latest."""
        with self._lock:
            if call in self._waiting:
                self._waiting.remove(call)
                self._settle(call, CANCELLED, "null")
            elif found := self._find(call):
                child, number = found
                self._cancelling.setdefault(call, time.monotonic() + self.grace)
                child.link.send((wire.CANCEL, number))
            self._stir()

    def usual_seconds(self, call: StepCall) -> float | None:
        """What such a step took lately; None for one that never ran here."""
        return self._paces.of(call.task.definition).seconds[call.template_no]

    def standing(self) -> None:
        """Handlers run here."""

    def stop(self, grace: float) -> None:
        """Releases what never started, waits up to `grace` seconds for the rest, ends what is left and releases it.

        Every outcome is delivered and no child is left when this returns. A second call can only shorten the grace time.
        """
        if not self._started:
            return
        with self._lock:
            self._stop_at = min(self._stop_at, time.monotonic() + grace)
            if not self._stopping:
                self._stopping = True
                self._release_waiting()
                for child in self._children.values():
                    child.link.send((wire.RECALL,))
            self._next_look = 0.0
            self._wake()
        self._finished.wait()
        for thread in self._threads:  # one that is still there after this has delivered, and waits for the database
            thread.join(LAST_WORDS_SECONDS)

    # ------------------------------------------------------------------ the threads that speak with the children

    # One listens. When nothing is left running it goes and reports itself, one change of threads less per hop, and the other listens.

    def _run(self) -> None:
        while outcomes := self._hear_outcomes():
            self._hand_over(outcomes)

    def _hear_outcomes(self) -> list[Outcome]:
        """The last of what ran, once it has ended; what ended before is delivered. Nothing when all is over."""
        with self._listening:
            self._listener = threading.get_ident()
            while not (self._stopping and not self._children and not self._outcomes):
                if outcomes := self._try_turn():
                    if not self._held and len(outcomes) <= FEW:
                        self._listener = 0
                        return outcomes
                    self._hand_over(outcomes)
            if not self._finished.is_set():
                self._finish()
        return []

    def _hand_over(self, outcomes: list[Outcome]) -> None:
        try:
            self._deliver(outcomes)
        except Exception:
            log.exception("the process runner met an error and goes on")

    def _try_turn(self) -> list[Outcome]:
        try:
            return self._turn()
        except Exception:
            log.exception("the process runner met an error and goes on")
            time.sleep(0.1)
            return []

    def _turn(self) -> list[Outcome]:
        with self._lock:
            pause = self._pause(time.monotonic())
        events = self._selector.select(pause)
        with self._lock:
            self._asleep = False
            for key, mask in events:
                key.data(mask)
            if (now := time.monotonic()) >= self._next_look:
                self._look(now)
            outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def _finish(self) -> None:
        for _ in range(LOOKUP_THREADS):
            self._questions.put(None)
        if not self._has_heir:
            self._end_host()
        for end in (self._selector, self._awake, self._waker):
            end.close()
        self._finished.set()

    def _pause(self, now: float) -> float | None:
        if self._outcomes:
            return 0.0
        if self._is_restless() or now - self._active_at < AWAKE_SECONDS:
            return max(0.0, self._next_look - now)
        self._asleep = True
        return None

    def _is_restless(self) -> bool:
        """Whether anything is to be watched: calls, children that come or go, the host."""
        return (
            self._held > 0
            or self._stopping
            or self._host.ended
            or len(self._children) < self.concurrency
            or any(child.lost_since or child.killed_since for child in self._children.values())
        )

    def _stir(self) -> None:
        self._active_at = time.monotonic()
        if self._asleep or self._outcomes:
            self._wake()

    def _wake(self) -> None:
        self._asleep = False
        try:
            self._waker.send(b"!")
        except (BlockingIOError, OSError):  # it is awake, or gone
            pass

    # ------------------------------------------------------------------ handing out

    def _dispatch(self) -> None:
        if not self._waiting or time.monotonic() > self.may_start_until:
            return
        free = [child for child in self._children.values() if child.takes_more(AHEAD_SECONDS)]
        if not free:
            return
        share = self._paces.mean * len(self._waiting) / len(free)
        budget = min(AHEAD_SECONDS, max(SMALLEST_SHARE, share))
        for child in sorted(free, key=lambda child: child.load):
            self._fill(child, budget)

    def _fill(self, child: _Child, budget: float) -> None:
        waiting, jobs, numbers, pace_of = self._waiting, child.jobs, self._numbers, self._paces.of
        batch: list[tuple[Any, ...]] = []
        while waiting and child.takes_more(budget):
            call = waiting[0]
            task, no = call.task, call.template_no
            pace = pace_of(task.definition)
            seconds = pace.seconds[no]
            cost = AHEAD_SECONDS if seconds is None or seconds > AHEAD_SECONDS else seconds
            if jobs and child.load + cost > budget:
                break
            waiting.popleft()
            number = next(numbers)
            jobs[number] = call, cost, pace
            child.load += cost
            batch.append(
                (number, pace.key, no, call.attempt, call.retry_limit, task.public_id, task.context_json,
                 task.correlation_id, call.inputs, cost > ALONE_SECONDS,
                 None if call.item is None else tuple(call.item), task.traceparent)
            )  # fmt: skip
        if batch:
            self._moved_at = time.monotonic()
            child.link.send((wire.RUN, self.may_start_until * 1e9, batch))

    def _give_back(self, calls: list[StepCall]) -> None:
        """Calls that a child held but never started: they wait again, in front, as if nothing had happened."""
        for call in reversed(calls):
            if call in self._cancelling:
                self._settle(call, CANCELLED, "null")
            elif self._stopping:
                self._settle(call, RELEASED, "null")
            else:
                self._waiting.appendleft(call)

    def _release_waiting(self) -> None:
        while self._waiting:
            self._settle(self._waiting.pop(), RELEASED, "null")

    def _settle(self, call: StepCall, kind: int, payload: str) -> None:
        if self._cancelling.pop(call, None) is not None and kind in (FAILED, RELEASED):
            kind = CANCELLED  # it ended because it was told to
        self._outcomes.append((call, kind, payload))
        self._held -= 1

    def _find(self, call: StepCall) -> tuple[_Child, int] | None:
        for child in self._children.values():
            for number, job in child.jobs.items():
                if job[0] is call:
                    return child, number
        return None

    # ------------------------------------------------------------------ listening

    def _hear_child(self, child: _Child, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            child.link.pump()
        if mask & selectors.EVENT_READ:
            self._receive(child)

    def _receive(self, child: _Child) -> bool:
        messages = child.link.receive()
        for message in messages:
            self._take(child, message)
        if child.link.ended and child.lost_since is None:
            child.lost_since = time.monotonic()
            child.link.forget()
        if messages:
            self._dispatch()
        return bool(messages)

    def _take(self, child: _Child, message: Message) -> None:
        if message[0] == wire.DONE:
            self._take_results(child, message[1])
        elif message[0] == wire.RETURNED:
            jobs = [child.jobs.pop(number) for number in message[1] if number in child.jobs]
            child.load = sum(job[1] for job in child.jobs.values())
            self._give_back([job[0] for job in jobs])
        elif message[0] == wire.LOOKUP:
            _, question, number, names = message
            if job := child.jobs.get(number):
                self._questions.put((child, question, job[0], names))
            else:
                child.link.send((wire.FOUND, question, None, "the step that asked is over"))
        elif message[0] == wire.SAID:
            for number, is_line, fields in message[1]:
                if job := child.jobs.get(number):
                    self._hear(job[0], Line(*fields) if is_line else Progress(*fields))

    def _take_results(self, child: _Child, results: list[tuple[int, int, str, int]]) -> None:
        jobs, load, outcomes, learnt, count = child.jobs, child.load, self._outcomes, 0, 0
        for number, kind, payload, nanoseconds in results:
            job = jobs.pop(number, None)
            if job is None:
                continue
            call, cost, pace = job
            load -= cost
            pace.learn(call.template_no, nanoseconds)
            learnt += nanoseconds
            count += 1
            if self._cancelling and call in self._cancelling:
                self._settle(call, kind, payload)
            else:
                outcomes.append((call, kind, payload))
                self._held -= 1
        child.load = load if jobs else 0.0
        child.served = True
        self._paces.learn(learnt, count)

    def _answer_questions(self) -> None:
        while (asked := self._questions.get()) is not None:
            child, question, call, names = asked
            found, error = self._look_up(call, names)
            with self._lock:
                child.link.send((wire.FOUND, question, found, error))

    def _look_up(self, call: StepCall, names: list[str]) -> tuple[dict[str, str] | None, str]:
        try:
            return self._lookup(call, names), ""
        except Exception as error:
            return None, f"{type(error).__name__}: {error}"

    # ------------------------------------------------------------------ watching limits

    def _look(self, now: float) -> None:
        self._next_look = now + LOOK_SECONDS
        for child in list(self._children.values()):
            self._look_at(child, now)
        if self._stopping:
            self._wind_up(now)
            return
        if self._host.ended:
            self._replace_host(now)
        if self._waiting and now - self._moved_at > STUCK_SECONDS:
            self._release_waiting()
        self._populate(now)
        self._dispatch()

    def _look_at(self, child: _Child, now: float) -> None:
        if child.killed_since is not None:
            if now - child.killed_since > UNKILLABLE_SECONDS or self._nobody_reports(child):
                self._left_some = True
                self._bury(child, None)
        elif child.lost_since is not None:
            child.cut_off = not self._nobody_reports(child)
            if not child.cut_off or now - child.lost_since > LOST_SECONDS:
                self._kill(child)
        elif child.jobs:
            self._look_at_head(child, now)

    def _nobody_reports(self, child: _Child) -> bool:
        return child.link.ended and (child.host.ended or child.host is not self._host)

    def _look_at_head(self, child: _Child, now: float) -> None:
        number, since = self._board.read(child.slot)
        job = child.jobs.get(number)
        if job is None:
            return
        call, _, pace = job
        age = now - since * 1e-9
        limit = pace.timeouts[call.template_no]
        stop_at = self._cancelling.get(call, math.inf)
        if limit is not None and age >= limit:
            self._end_head(child, number, FAILED, timeout_failure(limit))
        elif now >= stop_at:
            self._end_head(child, number, CANCELLED, "null")
        else:
            self._next_look = min(self._next_look, stop_at, math.inf if limit is None else now + limit - age)
            self._recall_behind(child, number, age)

    def _recall_behind(self, child: _Child, number: int, age: float) -> None:
        if age > RECALL_SECONDS and child.stuck_at != number:
            child.stuck_at = number
            if len(child.jobs) > 1:
                child.link.send((wire.RECALL,))

    def _end_head(self, child: _Child, number: int, kind: int, payload: str) -> None:
        self._receive(child)  # it may have come to its end in the meantime
        if number in child.jobs:
            child.verdict = number, kind, payload
            self._kill(child)

    # ------------------------------------------------------------------ births and deaths

    def _populate(self, now: float) -> None:
        if now < self._spawn_at or self._host.ended:
            return
        while len(self._children) < self.concurrency:
            slot = next(slot for slot in range(self._board.slots) if slot not in self._children)
            self._board.clear(slot)
            self._children[slot] = self._new_child(slot)

    def _new_child(self, slot: int) -> _Child:
        def hear(mask: int) -> None:
            self._hear_child(child, mask)

        child = _Child(
            slot, Link(self._host.spawn(slot), self._selector, hear), self._host
        )  # heard from the next turn on
        return child

    def _hear_host(self, mask: int) -> None:
        for kind, slot, fact in self._host.receive():
            child = self._children.get(slot)
            if kind == wire.BORN and child:
                child.pid = fact
                if child.killed_since is not None:
                    kill_group(fact)
            elif kind == wire.GONE and child:
                self._bury(child, fact)
        if self._host.ended:
            self._selector.unregister(self._host.socket)
            self._host_at = self._next_look = time.monotonic()

    def _replace_host(self, now: float) -> None:
        if now < self._host_at:
            return
        self._host.close()
        log.error("the handler host ended; starting another")
        self._host_at = now + HOST_AGAIN_SECONDS
        self._host = HostProcess(self._sources, self._board)
        self._selector.register(self._host.socket, selectors.EVENT_READ, self._hear_host)

    def _kill(self, child: _Child) -> None:
        child.killed_since = time.monotonic()
        if child.pid is not None:
            kill_group(child.pid)

    def _bury(self, child: _Child, ending: int | str | None) -> None:
        """A child is dead: charge the call it was running, hand the others on, put another child in its place."""
        for message in child.link.receive_rest():
            self._take(child, message)
        del self._children[child.slot]
        child.link.close()
        self._charge(child, ending)
        self._give_back([job[0] for job in child.jobs.values()])
        child.jobs.clear()
        if not self._stopping:
            self._populate(time.monotonic())
            self._dispatch()

    def _charge(self, child: _Child, ending: int | str | None) -> None:
        number, kind, payload = child.verdict or (self._board.read(child.slot)[0], FAILED, "")
        if job := child.jobs.pop(number, None):
            self._settle(job[0], kind, payload or crash_failure(self._tell(child, ending)))
        elif not child.served and child.ending_since is None and (child.pid or isinstance(ending, str)):
            log.error("a handler process %s before it ran anything", self._tell(child, ending))
            self._spawn_at = time.monotonic() + SPAWN_AGAIN_SECONDS

    def _tell(self, child: _Child, ending: int | str | None) -> str:
        if child.cut_off and child.killed_since is not None:
            return describe_ending(wire.CUT_OFF << 8)
        return ending if isinstance(ending, str) else describe_ending(ending)

    # ------------------------------------------------------------------ the end

    def _wind_up(self, now: float) -> None:
        for child in list(self._children.values()):
            if child.killed_since is not None:
                continue
            if not child.jobs and child.ending_since is None:
                child.ending_since = now
                child.link.send((wire.END,))
            elif child.jobs and now >= self._stop_at:
                child.verdict = self._board.read(child.slot)[0], RELEASED, "null"
                self._kill(child)
            elif child.ending_since is not None and now - child.ending_since > LAST_WORDS_SECONDS:
                self._kill(child)
        if now < self._stop_at:
            self._next_look = min(self._next_look, self._stop_at)
