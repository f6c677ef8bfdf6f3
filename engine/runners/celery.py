"""Runs handlers on Celery's workers. A message carries a token and the ids of its step; what is to be done, and what came of it, stands in the database.

So a message that comes twice runs once, one that is lost costs some seconds, and a broker that is down costs no attempt.
"""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any, Final, Protocol

from engine.errors import TaskerError
from engine.journal import Said
from engine.runners import CANCELLED, FAILED, RELEASED, Deliver, Hear, Lookup, Outcome, StepCall, nobody
from engine.runners.failures import lost_failure

log = logging.getLogger(__name__)

OURS: Final = metadata.version("tasker-engine")
LOOK_SECONDS: Final = 0.2
CHECK_SECONDS: Final = 2.0
AHEAD: Final = 2  # messages per handler process, so that a worker need not wait for the next
MOST_HELD: Final = 1_000
BEING_SENT: Final = math.inf  # a message that is on its way out is never overdue
UNSURE: Final = -math.inf  # one that may or may not be there always is


class Posts(Protocol):
    """The orders in the database, see `engine.deliveries`. Raises `TaskerError` while it is away."""

    def post(self, orders: Sequence[tuple[int, int, int, int]]) -> dict[int, str]: ...

    def take(self, told: Sequence[int]) -> tuple[Sequence[Any], Sequence[Any]]: ...

    def withdraw(self, numbers: Sequence[int]) -> set[int]: ...

    def drop(self) -> None: ...

    def places(self) -> Sequence[Seen]: ...

    def wait(self, connection: Any, seconds: float) -> Any: ...

    def close(self) -> None: ...


class Seen(Protocol):
    """A worker process: how many steps at a time, and its version of tasker-engine."""

    @property
    def place(self) -> str: ...

    @property
    def concurrency(self) -> int: ...

    @property
    def version(self) -> str: ...


class Broker(Protocol):
    """Where messages go. Raises `BrokerAway`."""

    name: str

    def check(self) -> None: ...

    def send(self, token: str, ids: Mapping[str, Any]) -> None: ...


class BrokerAway(TaskerError):
    """The broker cannot be reached now."""


class CeleryRunner:
    """Handlers run in the processes of Celery's workers that listen to the broker; at most `most` at a time.

    What no worker has begun within `patience` seconds goes back.
    """

    may_wait = False

    def __init__(self, posts: Posts, broker: Broker, heard: Callable[[Any, float], tuple[int, Said]], *, most: int | None = None, patience: float = 30.0) -> None:
        self.may_start_until = math.inf
        self._posts, self._broker, self._heard_as = posts, broker, heard
        self._most, self._patience = most, patience
        self._lock = threading.RLock()  # guards what follows
        self._calls: dict[int, StepCall] = {}
        self._sent: dict[int, float] = {}
        self._told: list[int] = []
        self._cancelling: set[StepCall] = set()
        self._numbers = itertools.count(1)
        self._places: Sequence[Seen] = ()
        self._trouble = ""
        self._stopping = self._started = False
        self._over = threading.Event()
        self._checked_at = -math.inf
        self._listening: Any = None

    # ---- the seam

    def start(self, deliver: Deliver, lookup: Lookup, hear: Hear = nobody) -> None:
        """Messages can be sent, or are tried to be."""
        self._deliver, self._hear = deliver, hear
        self._check()
        self._started = True
        self._tender = threading.Thread(target=self._tend, name="tasker-celery", daemon=True)
        self._tender.start()

    def submit(self, calls: list[StepCall]) -> None:
        """Take the calls; each is a message when this returns, or goes back."""
        with self._lock:
            numbered = {} if self._stopping else {next(self._numbers): call for call in calls}
            self._calls.update(numbered)
        if not numbered:
            self._report([(call, RELEASED, "null") for call in calls])
            return
        tokens = self._post(numbered)
        self._settle([(number, RELEASED, "null") for number in numbered.keys() - tokens.keys()])
        self._withdraw(self._unsent(tokens))

    def room(self) -> int:
        """How many more calls are wanted now."""
        with self._lock:
            if self._stopping or self._trouble or time.monotonic() > self.may_start_until:
                return 0
            most = min(MOST_HELD, self._threads() * AHEAD)
            return max(0, min(most, self._most or most) - len(self._calls))

    def cancel(self, call: StepCall) -> None:
        """A call that nobody has begun ends at once; another is asked to stop by its worker, which reads of it in the database."""
        with self._lock:
            self._cancelling.add(call)
            number = next((number for number, each in self._calls.items() if each is call), None)
        if number is not None:
            self._withdraw([number])

    def standing(self) -> dict[str, Any]:
        """How broker and workers are seen now, for the engines page."""
        with self._lock:
            said = self._trouble or self._lack()
            state = "away" if self._trouble else "troubled" if said else "connected"
            return {"state": state, "at": self._broker.name, "said": said, "workers": len(self._places), "threads": self._threads()}

    def _lack(self) -> str:
        if not self._places:
            return "no worker has been heard of; start one: celery -A engine.celery_worker worker"
        if not self._threads():
            return "no worker can load its handlers; the workers' logs say why"
        return next((f"the worker {one.place} has tasker-engine {one.version} instead of {OURS}; install the same version there" for one in self._places if one.version != OURS), "")

    def _threads(self) -> int:
        return sum(one.concurrency for one in self._places)

    def stop(self, grace: float) -> None:
        """Withdraws what nobody has begun, waits up to `grace` seconds for the rest, gives up what is left and releases it."""
        if not self._started:
            return
        with self._lock:
            self._stopping = True
        self._withdraw(list(self._calls))
        deadline = time.monotonic() + grace
        while self._calls and time.monotonic() < deadline:
            time.sleep(min(LOOK_SECONDS / 4, max(0.0, deadline - time.monotonic())))
        self._over.set()
        self._tender.join(CHECK_SECONDS + LOOK_SECONDS)
        try:
            self._posts.drop()
        except Exception as error:
            _note("orders are left behind, and end with the lease", error)
        self._settle([(number, RELEASED, "null") for number in list(self._calls)])
        self._posts.close()

    # ---- messages go out

    def _post(self, numbered: Mapping[int, StepCall]) -> dict[int, str]:
        try:
            return self._posts.post([(number, call.task.task_id, call.step_no, call.attempt) for number, call in numbered.items()])
        except Exception as error:
            self._met(error)
            return {}

    def _unsent(self, tokens: Mapping[int, str]) -> list[int]:
        """Sends them; those of which it is not known whether the message is there."""
        with self._lock:  # some may be withdrawn by now: a cancellation does not wait for the rest
            self._sent.update(dict.fromkeys(tokens.keys() & self._calls.keys(), BEING_SENT))
        try:
            for number, token in tokens.items():
                self._send(number, token)
        except Exception as error:
            self._met(error)
        with self._lock:
            unsure = [number for number in tokens if self._sent.get(number) == BEING_SENT]
            self._sent.update(dict.fromkeys(unsure, UNSURE))
        return unsure

    def _send(self, number: int, token: str) -> None:
        with self._lock:
            call = self._calls.get(number)
        if call is None:
            return
        step = call.task.definition.steps[call.template_no].name
        self._broker.send(token, {"task_id": call.task.public_id, "step": step, "attempt": call.attempt})
        with self._lock:
            if number in self._sent:
                self._sent[number] = time.monotonic()

    def _withdraw(self, numbers: list[int]) -> None:
        """What nobody has begun goes back, uncharged; what was begun is waited for."""
        if not numbers:
            return
        try:
            self._settle([(number, RELEASED, "null") for number in self._posts.withdraw(numbers)])
        except Exception as error:
            _note("orders could not be withdrawn yet", error)

    # ---- outcomes come in

    def _tend(self) -> None:
        while not self._over.is_set():
            if not self._tried(self._listen):
                self._tried(self._hang_up)
                self._over.wait(LOOK_SECONDS)
            if time.monotonic() - self._checked_at > CHECK_SECONDS:
                self._tried(self._check)
        self._tried(self._hang_up)

    def _tried(self, part: Callable[[], None]) -> bool:
        """Whether it went well; whatever it meets, the tender goes on, for without it steps would run for ever."""
        try:
            part()
        except Exception as error:
            _note("the Celery runner met an error and goes on", error)
            return False
        return True

    def _listen(self) -> None:
        self._listening = self._posts.wait(self._listening, LOOK_SECONDS)
        self._take()

    def _hang_up(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.close()

    def _take(self) -> None:
        ended, words = self._posts.take(self._told)
        now = time.monotonic()
        for word in words:
            number, said = self._heard_as(word, now)
            if call := self._calls.get(number):
                self._hear(call, said)
        self._settle([_outcome(each) for each in ended])
        self._told = [each.number for each in ended]

    def _settle(self, outcomes: Sequence[tuple[int, int, str]]) -> None:
        told: list[Outcome] = []
        with self._lock:
            for number, kind, payload in outcomes:
                self._sent.pop(number, None)
                if call := self._calls.pop(number, None):
                    told.append((call, kind, payload))
        self._report(told)

    def _report(self, outcomes: list[Outcome]) -> None:
        told = [(call, CANCELLED if call in self._cancelling and kind in (FAILED, RELEASED) else kind, payload) for call, kind, payload in outcomes]
        self._cancelling.difference_update(call for call, _, _ in outcomes)
        if told:
            self._deliver(told)

    # ---- the broker

    def _check(self) -> None:
        self._checked_at = time.monotonic()
        self._look_around()
        self._withdraw(self._overdue())

    def _look_around(self) -> None:
        try:
            self._broker.check()
            places = self._posts.places()
        except Exception as error:
            self._met(error)
            return
        if self._trouble:
            log.info("the broker %s answers again", self._broker.name)
        with self._lock:
            self._trouble, self._places = "", places

    def _overdue(self) -> list[int]:
        now = time.monotonic()
        with self._lock:
            return [number for number, sent in self._sent.items() if now - sent > self._patience]

    def _met(self, error: Exception) -> None:
        said = str(error) or type(error).__name__
        if said != self._trouble:
            log.warning("no step starts: %s", said, exc_info=None if isinstance(error, TaskerError) else error)
        self._trouble = said


def _note(what: str, error: Exception) -> None:
    """What we know to pass is told by `_met`; anything else is for people to look at."""
    if isinstance(error, TaskerError):
        log.debug("%s: %s", what, error)
    else:
        log.error(what, exc_info=error)


def _outcome(ended: Any) -> tuple[int, int, str]:
    if ended.kind is None:
        return ended.number, FAILED, lost_failure(ended.place)
    return ended.number, ended.kind, ended.payload
