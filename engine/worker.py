"""The loop of one engine process: claim ready steps, hand them to the runner, report what came out. The scheduler starts and stops it.

Each round trip reports everything that has ended and asks for as much as the runner has room for, so batches grow with
the load and no timer is needed. Two flusher threads share the work: one executes while the other waits for the disk.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
from psycopg import Connection

from engine import json_text, leases, objects
from engine.db import (
    Database,
    OutageLog,
    bound_transactions,
    connect,
    has_news,
    is_conflict,
    is_lost,
    is_short,
    keeps_session,
    prepare_nothing,
    translated,
)
from engine.definition import TaskDefinition
from engine.errors import DatabaseUnavailable, LeaseLost, RetryableError
from engine.monitoring.backlog import Backlog
from engine.monitoring.own_figures import Figures
from engine.runners import (
    CANCELLED,
    COMPLETED,
    DECIDED,
    EXPANDED,
    FAILED,
    RELEASED,
    STORED,
    Item,
    Outcome,
    Runner,
    StepCall,
    TaskInfo,
)
from engine.runners.invoke import failure, is_uncharged

log = logging.getLogger("tasker.engine")

BATCH = 300
FLUSHERS = 2
IDLE_SECONDS = 5.0
FEW = 2
LAST_REPORT_SECONDS = 10.0
RECONNECT_FIRST_SECONDS = 0.05
RECONNECT_CAP_SECONDS = 0.5
REST_SECONDS = 1.0
ASIDE_SECONDS = 5.0
EAGER_PARENTS = 1000
CLOSED_CLAIMS = 64
CLOSED_STEPS = 1_000  # claims are forgotten when so many of their steps have ended: who asks what runs walks through all that they name
KEPT_RESULT_BYTES = 8192
KEPT_RESULTS = 4096
REFUSED = "result_refused"
_CANCELLED_ERROR = '{"type":"cancelled","message":"stopped on request","code":null,"retryable":false,"delay":null,"traceback":""}'


@dataclass(slots=True, eq=False)
class _Place:
    """A flusher's connection, and the bell that wakes it."""

    number: int
    bell: threading.Event
    connection: Connection[Any] | None = None


class Worker:
    """Runs steps of the given definitions until told to drain.

    `definitions` maps the database's definition ids to the definitions this process has handlers for.
    A lost connection is made again; a lost lease ends the worker: `lease_lost` is set and nothing more is reported.
    """

    def __init__(
        self,
        url: str,
        runner: Runner,
        definitions: dict[int, TaskDefinition],
        *,
        name: str,
        runner_name: str,
        concurrency: int,
        lease: timedelta = timedelta(seconds=30),
        figures: Figures | None = None,
        labels: Sequence[str] = (),
    ) -> None:
        self.url = url
        self.runner = runner
        self.definitions = definitions
        self.who: leases.WorkerIdentity
        self.lease_lost = threading.Event()
        self.draining = False
        self.stopped = False
        self.news = False
        self.more_ready = False
        self._name, self._runner_name, self._concurrency, self._lease = name, runner_name, concurrency, lease
        self._labels = tuple(labels)
        self._serves = sorted(definitions)
        self._served = leases.literal(self._serves)
        self._heads: dict[str, str] = {}
        self._neglects = False
        self._is_limited = any(definition.is_limited for definition in definitions.values())
        self._done: deque[Outcome] = deque()
        self._aside: deque[Outcome] = deque()
        self._aside_until = 0.0
        self._running: dict[tuple[int, int], StepCall] = {}
        self._tasks: dict[int, TaskInfo] = {}
        self._claims: dict[int, int] = {}
        self._closed: list[int] = []
        self._ended_steps = 0
        self._moved_at = 0.0
        self._claim_no = 0
        self._claim_due = True
        self._batch = BATCH
        self._report_until = 0.0
        self._reserved = 0
        self._unsure = False
        self._look_again_at = math.inf
        self._keeps_session = True
        self._asked: set[tuple[int, int]] = set()
        self._book = threading.Lock()
        self._idle: list[_Place] = []
        self._calls = [threading.Lock() for _ in range(FLUSHERS)]
        self._threads: list[threading.Thread] = []
        self._call_seconds = leases.call_seconds(lease)
        self._results = Database(url, max_size=2, application_name="tasker look-up", call_seconds=self._call_seconds)
        self._outage = OutageLog(log, "the engine has no database")
        self._shortage = OutageLog(log, "the database cannot take what the engine reports")
        self.backlog = Backlog()
        self.figures = figures or Figures()
        self.heard_at: float | None = None
        """When the engine's listener last heard of the database, by the monotonic clock."""

    def start(self) -> None:
        """Registered, connected and claiming. Raises `DatabaseUnavailable`, or what keeps the runner from starting."""
        # first, as the lease runs from registration on and handlers may take their time to load
        self.runner.start(self._deliver, self._look_up, self.backlog.hear)
        try:
            connection = self._registered()
        except BaseException:
            self.runner.stop(0)
            raise
        connections: list[Connection[Any] | None] = [connection, *[None] * (FLUSHERS - 1)]
        for number, first in enumerate(connections):
            thread = threading.Thread(target=self._flush_forever, args=(number, first), name=f"tasker-flusher-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _registered(self) -> Connection[Any]:
        connection = self._connect()
        if not keeps_session(connection):
            self._keeps_session = False
            prepare_nothing(connection)
            log.warning(
                "the connections go through a pooler in transaction mode: deaths are seen by the lease alone, after %g s, and no notification is heard; "
                "set TASKER_DATABASE_URL to PostgreSQL itself, or to a pool in session mode",
                self._lease.total_seconds(),
            )
        self._know_lanes(connection)
        asked = time.monotonic()
        self.who = leases.register_worker(
            connection,
            name=self._name,
            runner=self._runner_name,
            concurrency=self._concurrency,
            definitions=self._serves,
            lease=self._lease,
            labels=self._labels,
        )
        leases.lock_worker(connection, self.who.worker_id)
        self.runner.may_start_until = asked + self._lease.total_seconds()
        return connection

    def _know_lanes(self, connection: Connection[Any]) -> None:
        """What is claimed is of these definitions, and needs no labels but ours."""
        definitions = sorted(self.definitions)
        self._serves = sorted([*definitions, *leases.lanes(connection, definitions, self._labels)])
        self._served = leases.literal(self._serves)

    def _connect(self) -> Connection[Any]:
        connection = connect(self.url, application_name="tasker engine", options=leases.SESSION, call_seconds=self._call_seconds)
        if self._keeps_session:
            bound_transactions(connection, 2 * self._call_seconds)
        else:
            prepare_nothing(connection)
        return connection

    def wake(self) -> None:
        """There may be something to claim: a flusher looks."""
        self._claim_due = True
        self._signal()

    def claim(self) -> None:
        """As `wake`, but with little in hand the caller looks itself: one change of threads less on the way from a submission to its first step."""
        self._claim_due = True
        if len(self._running) <= FEW:
            self._report_here()
        else:
            self._signal()

    @property
    def running_count(self) -> int:
        """How many steps this worker holds now."""
        return len(self._running)

    @property
    def is_at_rest(self) -> bool:
        """Whether it holds nothing, and has not for a second: between two claims of a busy engine there is nothing in hand either."""
        return not self._running and time.monotonic() - self._moved_at > REST_SECONDS

    def look_for_neglected(self, connection: Connection[Any]) -> None:
        """While this worker is full, children of what it runs take every place it gets. If others are left standing meanwhile, some of the next places are theirs."""
        if not self.is_full or self.draining:
            self._heads, self._neglects = {}, False
            return
        before, self._heads = self._heads, leases.heads(connection, self._served)
        self._neglects = any(before.get(place) == head for place, head in self._heads.items())

    @property
    def is_full(self) -> bool:
        """Whether it holds as many steps as run at a time, or more that are waiting behind them."""
        return len(self._running) >= self._concurrency

    def heartbeat(self, connection: Connection[Any]) -> None:
        """The lease is renewed, or `lease_lost` is set."""
        asked = time.monotonic()
        with self.figures.call("heartbeat"):
            lives = leases.heartbeat(connection, self.who, definitions=self._serves, draining=self.draining, figures=self._written_figures())
        if lives:
            self.runner.may_start_until = asked + self._lease.total_seconds()
        else:
            self._lose_lease()

    def _written_figures(self) -> str:
        silent = None if self.heard_at is None else round(time.monotonic() - self.heard_at, 3)
        return json_text.dump(self.figures.written(running=self.running_count, listener_seconds=silent, cluster=self.runner.standing()))

    def _lose_lease(self) -> None:
        if not self.lease_lost.is_set():
            self.figures.lost_lease()
        self.runner.may_start_until = 0.0
        self.lease_lost.set()

    def _doubt_lease(self) -> None:
        """A connection is gone, and perhaps the lock with it by which others see that we live: until the next heartbeat they may cut our lease short."""
        self.runner.may_start_until = min(self.runner.may_start_until, time.monotonic() + leases.CUT_SECONDS)

    def ask_to_stop(self, connection: Connection[Any]) -> None:
        """Running steps whose cancellation was requested are told so, once."""
        held = [key for key in list(self._running) if key not in self._asked]
        wanted = leases.cancel_requests(connection, held) if held else []
        if not wanted:
            return
        with self._between_calls():  # what is claimed but not yet with the runner could not be told
            for key in wanted:
                call = self._running.get(key)
                if call is not None:
                    self._asked.add(key)
                    self.runner.cancel(call)

    def keep_journal(self, connection: Connection[Any]) -> None:
        """What the attempts have said so far is on record, and news."""
        if not self.lease_lost.is_set() and self.backlog.write(connection, self.who):
            self.news = True

    def drain(self, grace: float) -> None:
        """Nothing new starts; running steps end within `grace` seconds or are handed back, uncharged. Then the worker is gone."""
        self.draining = True
        self._report_until = time.monotonic() + grace
        self.runner.stop(grace)
        self.stopped = True
        for _ in self._threads:
            self._signal()
        for thread in self._threads:
            thread.join(timeout=max(0.0, self._report_until - time.monotonic()) + LAST_REPORT_SECONDS)
        self._results.close()
        self._retire()

    def abandon(self) -> None:
        """Stop at once without reporting: the lease is lost, so nothing we could say counts."""
        self.stopped = True
        self._running.clear()
        for _ in self._threads:
            self._signal()
        self._results.close()

    # ---- outcomes come in

    def _deliver(self, outcomes: list[Outcome]) -> None:
        self._done.extend(outcomes)
        if self.runner.may_wait and len(self._running) <= FEW:
            self._report_here()
        else:
            self._signal()

    def _signal(self) -> None:
        try:
            self._idle.pop().bell.set()
        except IndexError:
            pass  # every flusher is busy and will look again when it is through

    def _report_here(self) -> None:
        """With little in hand, who delivers reports too, on a resting flusher's connection: one change of threads less per hop."""
        try:
            place = self._idle.pop()
        except IndexError:
            return
        try:
            self._flush(place)
        except Exception:  # the outcomes are back in line, and the flusher meets the same trouble and deals with it
            place.bell.set()
            return
        self._idle.append(place)
        if self._done or self.stopped:
            self._signal()

    def _look_up(self, call: StepCall, names: list[str]) -> dict[str, str]:
        numbers, steps, known = call.task.definition.numbers, call.task.definition.steps, call.task.results
        here = {name: known[numbers[name]] for name in names if numbers[name] in known}
        wanted = [(call.task.task_id, numbers[name]) for name in names if name not in here]
        if not wanted:
            return here
        found = self._read_results(wanted)
        known.update((step_no, result) for _, step_no, result in found if len(result) <= KEPT_RESULT_BYTES and len(known) < KEPT_RESULTS)
        return here | {steps[step_no].name: result for _, step_no, result in found}

    def _read_results(self, wanted: list[tuple[int, int]]) -> leases.Rows:
        """Waits as long as a lease lasts for a database that is away: the attempt would be charged, and what it has done so far done again."""
        until, wait = time.monotonic() + self._lease.total_seconds(), RECONNECT_FIRST_SECONDS
        while True:
            try:
                with self._results.connection() as connection, self.figures.call("read_results"):
                    return leases.read_results(connection, wanted)
            except (DatabaseUnavailable, psycopg.Error) as error:
                if self.stopped or self.lease_lost.is_set() or time.monotonic() > until or not is_lost(error):
                    raise RetryableError(f"the results of earlier steps could not be read: {error}") from error
            time.sleep(wait)
            wait = min(wait * 2, RECONNECT_CAP_SECONDS)

    # ---- the loop

    def _flush_forever(self, number: int, connection: Connection[Any] | None) -> None:
        wait = RECONNECT_FIRST_SECONDS
        place = _Place(number, threading.Event())
        while not self.lease_lost.is_set() and not (self.stopped and not self._done and not self._aside):
            try:
                place.connection = connection = connection or self._connected()
                if self._flush(place):
                    self._outage.over()
                    self._shortage.over()
                else:
                    self._rest(place)
                wait = RECONNECT_FIRST_SECONDS
            except LeaseLost as error:
                log.warning("%s; this worker stops", error)
                self._lose_lease()
            except Exception as error:  # whatever it is: a flusher that ended would leave its steps running for ever
                if is_conflict(error):
                    continue
                if is_lost(error):
                    self._outage.met(error)
                    self._doubt_lease()
                elif is_short(error):
                    self._shortage.met(translated(error) if isinstance(error, psycopg.Error) else error)
                else:
                    log.exception("a report went wrong and is made again")
                if not (is_short(error) or _is_refusal(error)):
                    _close(connection)
                    connection = None
                if self.stopped and wait >= RECONNECT_CAP_SECONDS and time.monotonic() > self._report_until:
                    break
                place.bell.clear()  # what woke us for the call that failed must not cut the pause short
                place.bell.wait(wait)
                wait = min(wait * 2, RECONNECT_CAP_SECONDS)
        _close(connection)

    def _connected(self) -> Connection[Any]:
        """A session that proves we live, and the lease renewed at once: another engine may have seen our locks vanish."""
        connection = self._connect()
        leases.lock_worker(connection, self.who.worker_id)
        self.heartbeat(connection)
        if self.lease_lost.is_set():
            # what the database still says we hold is being taken from us: it must not be looked for and begun
            connection.close()
            raise LeaseLost(f"the lease of worker {self.who.worker_id} is over")
        return connection

    def _flush(self, place: _Place) -> bool:
        """One round trip, taken or to be made again in parts, or False when there was no reason for one."""
        assert place.connection is not None
        if self._unsure or time.monotonic() > self._look_again_at:
            self._find_again(place.connection)
        aside = self._take_from_aside()
        outcomes = aside or self._take()
        want = 0 if aside else self._reserve(len(outcomes))
        if not outcomes and not want:
            _look_at_line(place.connection)
            return False
        try:
            if outcomes:
                self.figures.batch(len(outcomes))
            with self._calls[place.number]:
                self._report(place.connection, outcomes, want)
            self._batch = min(BATCH, 2 * self._batch)
            if outcomes or self._running:
                self._moved_at = time.monotonic()
        except Exception as error:
            self._claim_due = True
            if self._put_back(outcomes, error, want):
                return True
            raise translated(error) if isinstance(error, psycopg.Error) and error.sqlstate == "WF003" else error from None
        finally:
            with self._book:
                self._reserved -= want
        return True

    def _put_back(self, outcomes: list[Outcome], error: Exception, want: int) -> bool:
        """What was not reported will be; whether at once, as the database will not take it like this and a smaller part may pass."""
        if not is_conflict(error) and (want or not _is_refusal(error)):
            # what the server has received it may carry out until its own time limit strikes, whatever became of the connection
            self._unsure, self._look_again_at = True, time.monotonic() + self._call_seconds
        if _is_refusal(error):
            return self._divide(outcomes, error, want)
        self._done.extendleft(reversed(outcomes))
        return False

    def _divide(self, outcomes: list[Outcome], error: Exception, want: int) -> bool:
        """Ever smaller parts are tried, the last without a claim, until the one outcome is found and fails; one that is refused even so stands aside for a while.

        False when nothing was found to blame: the claim was refused, or what says that an outcome was.
        """
        if not outcomes:
            return False
        if len(outcomes) == 1 and _was_refused(outcomes[0]):
            self._aside_until = time.monotonic() + ASIDE_SECONDS
            self._aside.extend(outcomes)
            return False
        self._batch = max(1, len(outcomes) // 2)
        self._done.extendleft(reversed(outcomes) if len(outcomes) > 1 or want else [_refused(outcomes[0], error)])
        return True

    def _take_from_aside(self) -> list[Outcome]:
        """One that stands aside, when it is time to try it again: alone, as the others must not wait for it."""
        if not self._aside or (time.monotonic() < self._aside_until and not self.stopped):
            return []
        try:
            return [self._aside.popleft()]
        except IndexError:
            return []

    def _rest(self, place: _Place) -> None:
        place.bell.clear()
        self._idle.append(place)
        # looked at again after standing in the list: whoever delivers in between finds the place
        if not self._done and not (self._claim_due and not self.draining and self.runner.room() > self._reserved) and not self.stopped:
            while not place.bell.wait(IDLE_SECONDS) and place not in self._idle:
                pass  # somebody is reporting on our connection
        if place in self._idle:
            self._idle.remove(place)

    def _take(self) -> list[Outcome]:
        outcomes: list[Outcome] = []
        take, most = self._done.popleft, self._batch
        try:
            while len(outcomes) < most:
                outcomes.append(take())
        except IndexError:
            pass
        return outcomes

    def _reserve(self, ended: int) -> int:
        """How many steps to take on: with something to report always what there is room for, else only when some may be ready."""
        if self.draining or not (ended or self._claim_due) or (ended and self._batch == 1):
            return 0
        with self._book:
            want = max(0, min(BATCH, self.runner.room() - self._reserved))
            self._reserved += want
        return want

    def _report(self, connection: Connection[Any], outcomes: list[Outcome], want: int) -> None:
        ended = list(outcomes) if self._is_limited else ()
        completed = self._report_others(connection, outcomes)
        completed.sort(key=_place)
        done = [(call.task.task_id, call.step_no, call.attempt, payload) for call, _, payload in completed]
        # the queue is asked only when something may stand in it: unlocked children are handed over without
        served = self._served if want and (self._claim_due or self._neglects) else None
        self._claim_due = self._claim_due and not served
        rows: leases.Rows = []
        claim_no = 0
        if done or served:
            claim_no, closed = self._next_claim()
            with self.figures.call("complete_and_claim"):
                rows = leases.complete_and_claim(
                    connection, self.who, claim_no=claim_no, done=done, want=want, definitions=served, closed_claims=closed, hand=self._hand(want, served)
                )
        self._keep_results(completed)
        self._end(completed)
        self._hand_out(self._begin(connection, rows, claim_no, {call.task.task_id: call.task for call, _, _ in completed}))
        self.news = self.news or bool(completed or rows)
        if self._is_limited and ended:
            self._free_places(connection, ended)
        if want and len(rows) >= want:
            self._claim_due = self.more_ready = True
            self._signal()

    def _hand(self, want: int, served: str | None) -> int | None:
        if not (self._neglects and served):
            return None
        self._neglects = False
        return want - max(1, want // 4)

    def _free_places(self, connection: Connection[Any], ended: Sequence[Outcome]) -> None:
        """Who waited before a limit for what has ended is let in by the next claim."""
        tasks = {call.task.task_id for call, _, _ in ended if call.task.definition.is_limited}
        if not tasks:
            return
        with self.figures.call("free_places"):
            is_freed = leases.free_places(connection, tasks)
        if is_freed:
            self._claim_due = True
            self._signal()

    def _report_others(self, connection: Connection[Any], outcomes: list[Outcome]) -> list[Outcome]:
        """What did not complete is reported on its own: rarer, and decided by the database step by step. `outcomes` keeps the rest, which is returned."""
        completed = [outcome for outcome in outcomes if outcome[1] == COMPLETED]
        if len(completed) == len(outcomes):
            return completed
        due = [outcome for outcome in outcomes if self._is_due(outcome)]
        failed = [_held(call) + (payload if kind == FAILED else _CANCELLED_ERROR,) for call, kind, payload in due if kind in (FAILED, CANCELLED)]
        released = [_held(call) for call, kind, _ in due if kind == RELEASED]
        stored = [outcome for outcome in outcomes if outcome[1] == STORED]
        if stored:
            self.figures.unhindered(objects.StoreFailed.__name__)
            with self.figures.call("keep_objects"):
                leases.keep_objects(connection, self.who, sorted(_held(call) + objects.place_of(payload) for call, _, payload in stored))
            completed += stored
        decided = [_held(call) + (payload,) for call, kind, payload in outcomes if kind == DECIDED]
        if decided:
            with self.figures.call("decide_steps"):
                leases.decide_steps(connection, self.who, sorted(decided))
            self._claim_due = True
        for held in sorted(_held(call) for call, kind, _ in outcomes if kind == EXPANDED):
            with self.figures.call("expand_step"):
                leases.expand_step(connection, self.who, held)
            self._claim_due = True
        if failed:
            self._note_hindrances(due)
            with self.figures.call("fail_steps"):
                leases.fail_steps(connection, self.who, sorted(failed))
            self._claim_due = True
        if released:
            with self.figures.call("release_steps"):
                leases.release_steps(connection, self.who, sorted(released))
        self._keep_results([outcome for outcome in outcomes if outcome[1] == DECIDED])
        self._end([outcome for outcome in outcomes if outcome[1] not in (COMPLETED, STORED)])
        outcomes[:] = completed
        self.news = True
        return completed

    def _is_due(self, outcome: Outcome) -> bool:
        """Not a second time where the attempt is not charged: its number comes again, and what is reported twice must not hit the step's next life."""
        return not _goes_back(outcome) or self._running.get(_place(outcome)) is outcome[0]

    def _note_hindrances(self, outcomes: Sequence[Outcome]) -> None:
        for _, _, payload in (outcome for outcome in outcomes if outcome[1] == FAILED and _goes_back(outcome)):
            error = json_text.load(payload)
            self.figures.hindered(error["type"], error["message"])

    # ---- steps in hand

    def _next_claim(self) -> tuple[int, list[int]]:
        with self._book:
            self._claim_no += 1
            if len(self._closed) < CLOSED_CLAIMS and self._ended_steps < CLOSED_STEPS and not self.draining:
                return self._claim_no, []
            closed, self._closed, self._ended_steps = self._closed, [], 0
            return self._claim_no, closed

    def _keep_results(self, completed: Sequence[Outcome]) -> None:
        for call, kind, payload in completed:
            results = call.task.results
            if kind == STORED:
                payload = json_text.OBJECT_MARK + objects.place_of(payload)[0]
            if len(payload) <= KEPT_RESULT_BYTES and len(results) < KEPT_RESULTS and call.item is None:
                results[call.step_no] = payload
            elif len(payload) > json_text.LARGE_BYTES:
                _tell_of_large(call, payload)

    def _begin(self, connection: Connection[Any], rows: leases.Rows, claim_no: int, handed: dict[int, TaskInfo]) -> list[StepCall]:
        if not rows:
            return []
        tasks = self._task_infos(connection, rows, handed)
        calls = [
            StepCall(tasks[task_no], step_no, attempt, max(attempt, tasks[task_no].definition.steps[step_no].retry_limit), {}, claim_no)
            for task_no, step_no, _, attempt in rows
            if step_no >= 0
        ]
        if len(calls) < len(rows):
            calls += self._item_calls(connection, rows, tasks, claim_no)
        self._add_inputs(connection, calls)
        with self._book:
            self._claims[claim_no] = self._claims.get(claim_no, 0) + len(calls)
            for call in calls:
                call.task.held += 1
                self._tasks[call.task.task_id] = call.task
                self._running[call.task.task_id, call.step_no] = call
        return calls

    def _item_calls(self, connection: Connection[Any], rows: leases.Rows, tasks: dict[int, TaskInfo], claim_no: int) -> list[StepCall]:
        attempts = {(task_no, step_no): attempt for task_no, step_no, _, attempt in rows if step_no < 0}
        calls = []
        with self.figures.call("read_items"):
            items = leases.read_items(connection, list(attempts))
        for task_no, step_no, map_no, item_no, item in items:
            task, attempt = tasks[task_no], attempts[task_no, step_no]
            limit = max(attempt, task.definition.steps[map_no].retry_limit)
            calls.append(StepCall(task, step_no, attempt, limit, {}, claim_no, Item(map_no, item_no, item)))
        return calls

    def _hand_out(self, calls: list[StepCall]) -> None:
        """To the runner; but a map step has no work of its own, so it is due to be reported at once."""
        maps = [call for call in calls if call.step_no in call.task.definition.maps]
        if maps:
            self._done.extend((call, EXPANDED, "null") for call in maps)
            self._signal()
            calls = [call for call in calls if call not in maps]
        if calls:
            self.runner.submit(calls)

    def _task_infos(self, connection: Connection[Any], rows: leases.Rows, handed: dict[int, TaskInfo]) -> dict[int, TaskInfo]:
        known = self._tasks
        # a step that runs once more may run with another context and other results: an operator can have led the task back
        anew = {row[0] for row in rows if row[3] > 1 and row[0] not in handed}
        infos = {no: task for no in {row[0] for row in rows} - anew if (task := handed.get(no) or known.get(no))}
        missing = {row[0]: row[2] for row in rows if row[0] not in infos}
        if missing:
            with self.figures.call("read_tasks"):
                found = leases.read_tasks(connection, sorted(missing))
            for task_no, task_id, context, correlation_id, traceparent in found:
                definition = self.definitions[missing[task_no]]
                infos[task_no] = TaskInfo(
                    task_no, task_id, definition.namespace, definition.name, definition.version, definition, context, correlation_id, traceparent
                )
        return infos

    def _add_inputs(self, connection: Connection[Any], calls: list[StepCall]) -> None:
        """Every call knows its parents' results; those that are many or large are looked up when the handler asks."""
        eager = [(call, parents) for call in calls if (parents := _eager_parents(call))]
        missing = [(call.task.task_id, no) for call, parents in eager for no in parents if no not in call.task.results]
        fetched = self._fetched(connection, missing) if missing else {}
        for call, parents in eager:
            call.inputs = self._inputs(call, parents, fetched)

    def _fetched(self, connection: Connection[Any], wanted: list[tuple[int, int]]) -> dict[tuple[int, int], str]:
        with self.figures.call("read_results"):
            found = leases.read_results(connection, wanted)
        return {(task_no, step_no): result for task_no, step_no, result in found}

    def _inputs(self, call: StepCall, parents: Iterable[int], fetched: dict[tuple[int, int], str]) -> dict[str, str]:
        steps, results, task_no = call.task.definition.steps, call.task.results, call.task.task_id
        return {steps[no].name: results[no] if no in results else fetched.get((task_no, no), "null") for no in parents}

    def _end(self, outcomes: Sequence[Outcome]) -> None:
        with self._book:
            for call, _, _ in outcomes:
                if call.claim is not None:
                    self._end_one(call)

    def _end_one(self, call: StepCall) -> None:
        task, key, claim_no = call.task, (call.task.task_id, call.step_no), call.claim
        call.claim = None
        # the other flusher may hold the step again already, in its next attempt
        if self._running.get(key) is call:
            del self._running[key]
            self._asked.discard(key)
        task.held -= 1
        if not task.held and self._tasks.get(task.task_id) is task:
            del self._tasks[task.task_id]
        self._ended_steps += 1
        self._claims[claim_no] -= 1
        if not self._claims[claim_no]:
            del self._claims[claim_no]
            self._closed.append(claim_no)

    def _find_again(self, connection: Connection[Any]) -> None:
        """A reply was lost: what the database says we hold and we do not know was claimed by that call, and starts now."""
        with self._between_calls():
            due = time.monotonic() > self._look_again_at
            if not self._unsure and not due:
                return
            with self.figures.call("worker_steps"):
                held = leases.worker_steps(connection, self.who)
            rows = [row for row in held if not self._knows(row)]
            for row in rows:
                self._hand_out(self._begin(connection, [row[:4]], row[4], {}))
            self._unsure = False
            self._look_again_at = math.inf if due else self._look_again_at
            if rows:
                log.info("found %d steps again whose claim had lost its reply", len(rows))

    @contextmanager
    def _between_calls(self) -> Iterator[None]:
        """No flusher is in a call: what was claimed is with the runner."""
        with ExitStack() as all_calls:
            for lock in self._calls:
                all_calls.enter_context(lock)
            yield

    def _knows(self, row: tuple[Any, ...]) -> bool:
        call = self._running.get((row[0], row[1]))
        return call is not None and call.attempt == row[3]

    def _retire(self) -> None:
        if self.lease_lost.is_set():
            return
        try:
            with self._connect() as connection:
                self.keep_journal(connection)
                leases.retire_worker(connection, self.who)
        except (psycopg.Error, DatabaseUnavailable) as error:
            log.warning("could not sign off: %s; the lease ends by itself", error)


def _eager_parents(call: StepCall) -> Sequence[int]:
    definition = call.task.definition
    parents = definition.parents(call.template_no)
    if call.item is not None:  # thousands of them would fetch the same
        return [no for no in parents if no in call.task.results]
    if definition.maps:  # a map step runs no handler, and its result may be as long as its list
        parents = () if call.step_no in definition.maps else tuple(no for no in parents if no not in definition.maps)
    return parents if len(parents) <= EAGER_PARENTS else ()


def _held(call: StepCall) -> leases.Held:
    return call.task.task_id, call.step_no, call.attempt


def _place(outcome: Outcome) -> tuple[int, int]:
    call = outcome[0]
    return call.task.task_id, call.step_no


def _goes_back(outcome: Outcome) -> bool:
    """Whether its attempt is not charged."""
    return outcome[1] == RELEASED or outcome[1] == FAILED and is_uncharged(outcome[2])


def _is_refusal(error: BaseException) -> bool:
    """Whether the database will not take these data, however often they come: wrong or too large for it."""
    return isinstance(error, psycopg.Error) and (error.sqlstate or "")[:2] in ("22", "23", "54")


def _tell_of_large(call: StepCall, payload: str) -> None:
    step = call.task.definition.steps[call.template_no].name
    size = json_text.byte_count(payload)
    log.warning("the result of step %s of task %s has %s KiB; every step that reads it reads it whole: keep large data elsewhere, or set TASKER_OBJECTS", step, call.task.public_id, f"{size >> 10:,}")


def _refused(outcome: Outcome, error: Exception) -> Outcome:
    call = outcome[0]
    reason = (str(error).strip().splitlines() or [""])[0]
    log.error("the database refuses what step %s of task %s reported: %s", call.task.definition.steps[call.template_no].name, call.task.public_id, reason)
    return call, FAILED, failure(REFUSED, f"the database refused what the step reported: {reason}")


def _was_refused(outcome: Outcome) -> bool:
    return outcome[1] == FAILED and outcome[2].startswith(f'{{"type":"{REFUSED}",')


def _look_at_line(connection: Connection[Any]) -> None:
    """A full worker asks nothing for as long as its steps take: were its sessions ended meanwhile, others would see no lock of ours. Raises OperationalError."""
    if has_news(connection.fileno()):
        connection.execute("select 1")


def _close(connection: Connection[Any] | None) -> None:
    if connection is not None:
        connection.close()
