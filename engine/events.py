"""What happened, told to whoever listens: the catalogue of events, reading them in order, and their delivery to EventSubscriber classes.

The history is the log, so the engine's own path writes nothing for it. The scheduler calls `EventDelivery`; `tasker events`, live pages
and metrics read for themselves.
"""

from __future__ import annotations

import inspect
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString

import psycopg

from engine import json_text, large_results
from engine.binding import finished
from engine.db import Database
from engine.definition import handler_path, nearest
from engine.errors import PermanentError, Problem, RequestError, RetryableError, TaskerError, delay_seconds
from engine.handlers import Task
from engine.hiding.redactions import redactions_of
from engine.queries import known_id
from engine.registry import HandlerRegistry

log = logging.getLogger("tasker.events")

Event = dict[str, Any]
"""One event: the fields of FIELDS by name; those that say nothing of its type are None."""

WINDOW = 200
"""Moves that are looked at in one round trip."""
FAR = 10 * WINDOW
"""How many moves may be ahead of a reader before it asks how many of them were dropped."""
ATTEMPTS = 10
"""How often an event is tried that is refused for a reason which was not said to pass."""
PATIENCE = timedelta(hours=24)
"""How long an event is tried that is refused for a reason which passes: a receiver that is down loses nothing meanwhile."""
LOOK_AGAIN_SECONDS = 0.03
"""Most transactions that were under way have ended by then."""
LOOKS_AGAIN = 4
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
LONGEST_WAIT_TO_PASS_SECONDS = 300.0
LEASE = timedelta(seconds=15)
RECORD_SECONDS = 1.0
LONGEST_ERROR = 2000


# ---- the catalogue


@dataclass(frozen=True)
class EventType:
    """One kind of event: when it comes, and which fields it fills beside COMMON_FIELDS."""

    name: str
    meaning: str
    fields: tuple[str, ...] = ()


FIELDS = {
    "event_id": "a number of its own, the same in every delivery; events come in its order",
    "type": "which event it is",
    "timestamp": "when it happened: ISO 8601 in UTC, such as 2024-01-15T10:30:00.123456Z",
    "task_id": "the task",
    "namespace": "the task's namespace",
    "task_name": "the name of its workflow",
    "version": "the version of its workflow",
    "context": "the task's context, without secrets, as are result and data",
    "correlation_id": "the task's correlation id, or None",
    "step_name": "the step, or None where the event is the task's own",
    "attempt": "which attempt of the step, from 1",
    "duration": "milliseconds: of the attempt; of a task, since its first step started",
    "result": "what the handler returned, or an operator supplied",
    "error": 'what went wrong: {"type", "message", "code"}; of a task, the error of the step that failed last',
    "data": "what the handler published with an event of its own",
}
COMMON_FIELDS = ("event_id", "type", "timestamp", "task_id", "namespace", "task_name", "version", "context", "correlation_id")

CATALOGUE = (
    EventType("task.started", "the first step of a task has started"),
    EventType("task.completed", "every step has ended well", ("duration",)),
    EventType("task.failed", "no step can go on and at least one has failed", ("duration", "error")),
    EventType("task.cancelled", "the task was cancelled and nothing of it runs any more", ("duration",)),
    EventType("step.started", "an attempt has started; once per attempt", ("step_name", "attempt")),
    EventType("step.completed", "the handler has returned", ("step_name", "attempt", "duration", "result")),
    EventType("step.failed", "an attempt has failed; another may follow", ("step_name", "attempt", "duration", "error")),
    EventType("step.retried", "another attempt is set, right after its step.failed", ("step_name", "attempt", "duration", "error")),
    EventType("step.cancelled", "the step was cancelled, or what it waited for was", ("step_name", "attempt", "duration", "error")),
    EventType("step.skipped", "the step was passed over: by a person, or not chosen by a decision", ("step_name",)),
    EventType("step.resolved", "an operator supplied the outcome", ("step_name", "result")),
)
EVENT_TYPES = tuple(kind.name for kind in CATALOGUE)

_OWN_TYPE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+\Z")


def type_problem(name: object) -> str | None:
    """Why no event can have this type: the engine's own are those of the catalogue, a handler's are lower-case words joined by dots."""
    if name in EVENT_TYPES:
        return None
    if not isinstance(name, str) or not _OWN_TYPE.match(name):
        return f"{name!r} is no event type; one reads like order.priced"
    if name.startswith(("task.", "step.")):
        return f"there is no event {name!r}{nearest(name, EVENT_TYPES)}"
    return None


# ---- reading


class Horizon:
    """How far it is safe to read: numbers are given before their transactions commit, so a higher one may be visible before a lower one.

    The newest number is noted together with the transactions that are under way; once these have ended, nothing below can appear any more.
    """

    def __init__(self) -> None:
        self.decided = 0
        self._noted: tuple[int, int] | None = None

    @property
    def noted(self) -> int:
        """The event id that is decided next: above `decided` while transactions under way might still hide an earlier event."""
        return self._noted[0] if self._noted else self.decided

    @property
    def is_held(self) -> bool:
        """Whether there may be events further on, of which transactions under way might still hide an earlier one."""
        return self._noted is not None

    def look(self, db: Database) -> int:
        """The event id up to which nothing is missing; it never goes back. A transaction that stays open, anywhere on the server, holds it."""
        newest, low, high = db.rows("select event_id, low_xid, high_xid from tasker_event_horizon(%(decided)s)", {"decided": self.decided})[0]
        if self._noted and self._noted[1] <= low:
            self.decided, self._noted = self._noted[0], None
        if low >= high:
            self.decided, self._noted = newest, None
        elif not self._noted and newest > self.decided:
            self._noted = (newest, high)
        return self.decided


def newest_event(db: Database) -> int:
    """The event id after which to read for what happens from now on."""
    return int(db.value("select event_id from tasker_event_horizon()"))


def before_oldest_event(db: Database) -> int:
    """The cursor after which to read for everything that is still on record."""
    return int(db.value("select tasker_next_event(0, 2 * coalesce((select p.counted_to from tasker_rollup_place p), 0) + 1)"))


def read_events(
    db: Database, cursor: int, limit: int = WINDOW, types: Sequence[str] | None = None, namespace: str | None = None, *, until: int
) -> tuple[list[Event], int]:
    """The events after `cursor`, in order, and the next cursor; `until` is what `Horizon.look` said.

    It looks at no more than `limit` moves, of which many may be no event asked for: read on while the cursor is below `until`. What retention has
    dropped is passed in one step.
    """
    reached = min(cursor + 2 * limit, until)
    if reached <= cursor:
        return [], cursor
    query: LiteralString = """
        select event_id, type, "timestamp", task_id::text, namespace, task_name, version, context, correlation_id, step_name, attempt, duration,
               result, error, data
          from tasker_read_events(%(cursor)s, %(reached)s, %(types)s::text[], %(namespace)s)
    """
    parameters = {"cursor": cursor, "reached": reached, "types": list(types) if types else None, "namespace": namespace}
    found = [dict(zip(FIELDS, row, strict=True)) for row in db.rows(query, parameters)]
    if not found and until - reached > 2 * FAR:
        reached = int(db.value("select tasker_next_event(%(cursor)s, %(until)s)", {"cursor": reached, "until": until}))
    return _shown(db, found), reached


def _shown(db: Database, found: list[Event]) -> list[Event]:
    """The events without secrets."""
    known = redactions_of(db, (_definition(event) for event in found))
    for event in found:
        of = known[_definition(event)]
        shown = of.of_task(event["context"])
        result = large_results.resolved_one(db, event["task_id"], event["step_name"], event["result"])
        event["result"] = shown.result(event["step_name"] or "", result)
        event |= {"context": of.context(event["context"]), "error": shown.error(event["error"]), "data": shown.data(event["data"])}
    return found


def _definition(event: Event) -> tuple[str, str, str | None]:
    return event["namespace"], event["task_name"], event["version"]


class EventReader:
    """Follows the events from a cursor on, from now without one; `cursor` may be kept to go on later."""

    def __init__(self, db: Database, cursor: int | None = None, *, types: Iterable[str] = (), namespace: str | None = None) -> None:
        self.cursor = newest_event(db) if cursor is None else cursor
        self._db, self._types, self._namespace = db, list(types), namespace
        self._horizon = Horizon()

    def read(self, limit: int = WINDOW) -> list[Event]:
        """The next events there are, each once over all calls; none when all were read."""
        found: list[Event] = []
        until = self._horizon.look(self._db)
        while not found and self.cursor < until:
            found, self.cursor = read_events(self._db, self.cursor, limit, self._types, self._namespace, until=until)
        return found


# ---- publishing


def publish_event(db: Database, name: str, data: Any = None, *, task: Task | str, step_name: str | None = None) -> int:
    """The event is stored, and its id told: subscribers receive it among those of the task, with `data` (anything JSON can hold).

    It holds at once, whatever becomes of the step: a step that runs again publishes again. Raises `RequestError` and `NotFound`.
    """
    reserved = f"{name!r} is published by the engine alone" if name in EVENT_TYPES else None
    reason = reserved or type_problem(name)
    problems = [Problem("type", "bad_event_type", reason)] if reason else json_text.input_problems(data, "data")
    if problems:
        raise RequestError(problems, "the event cannot be published")
    query: LiteralString = "select tasker_publish_event(%(name)s, %(task)s::uuid, %(step)s, %(data)s::jsonb)"
    task_id = task if isinstance(task, str) else task.task_id
    return int(db.value(query, {"name": name, "task": known_id(task_id), "step": step_name, "data": json_text.dump(data)}))


# ---- delivering


@dataclass(frozen=True)
class Held:
    """A subscription that this engine owns: everything up to `event_id` is done, the event after it was tried `attempts` times.

    `failures` of these ended for a reason that was not said to pass; the first was `refused_for` ago.
    """

    fence: int
    event_id: int
    attempts: int
    failures: int
    refused_for: timedelta
    due: bool


class _Place:
    """How far one round has come, and how much of that is on record."""

    def __init__(self, held: Held) -> None:
        self.fence, self.event_id = held.fence, held.event_id
        self.attempts, self.failures, self.refused_for = held.attempts, held.failures, held.refused_for
        self.delivered = 0
        self.recorded = True
        self.recorded_at = time.monotonic()

    def passed(self, event_id: int, *, delivered: int) -> None:
        self.event_id, self.recorded = event_id, False
        self.attempts, self.failures, self.refused_for = 0, 0, timedelta()
        self.delivered += delivered

    def kept(self) -> None:
        self.delivered, self.recorded, self.recorded_at = 0, True, time.monotonic()


class _Listener:
    """The object of a subscriber class; made when the first event comes, and again while that fails."""

    def __init__(self, subscriber: type[Any]) -> None:
        self._class = subscriber
        self._instance: Any = None

    def refusal(self, event: Event) -> BaseException | None:
        """What the subscriber raised at the event; None when it has taken it."""
        try:
            if self._instance is None:
                self._instance = self._class()
            answer = _method(self._instance, event["type"])(event)
            if inspect.iscoroutine(answer):
                finished(answer)
        except BaseException as error:  # also SystemExit and CancelledError: they end this attempt, not the delivery
            return error
        return None


class Subscription:
    """One subscriber class and its durable place in the events. One engine at a time owns it, and one thread delivers."""

    def __init__(
        self, db: Database, subscriber: type[Any], owner: str, *, lease: timedelta, attempts: int, stopping: threading.Event, newest: Callable[[], int]
    ) -> None:
        self.name = str(handler_path(subscriber))
        self.types = _served_types(subscriber)
        self._db, self._class, self._owner, self._lease, self._attempts, self._stopping = db, subscriber, owner, lease, attempts, stopping
        self._newest = newest
        self._listener = _Listener(subscriber)
        self._thread: threading.Thread | None = None
        self._fence: int | None = None

    @property
    def busy(self) -> bool:
        """Whether events are being delivered now."""
        return self._thread is not None and self._thread.is_alive()

    def subscribe(self) -> None:
        """The subscriber has a place; a new one's is now, or the beginning for a class with `from_start = True`."""
        start = bool(getattr(self._class, "from_start", False))
        self._db.value("select tasker_subscribe(%(name)s, %(start)s)", {"name": self.name, "start": start})

    def take(self) -> Held | None:
        """The subscription with its lease renewed; None while another engine owns it."""
        query: LiteralString = "select fence, event_id, attempts, failures, refused_for, due from tasker_take_subscription(%(name)s, %(owner)s::uuid, %(lease)s)"
        found = self._db.rows(query, {"name": self.name, "owner": self._owner, "lease": self._lease})
        held = Held(*found[0]) if found else None
        self._fence = held.fence if held else None
        return held

    def begin(self, until: int) -> None:
        """What is due up to `until` is being delivered, in a thread that holds no one up; nothing when it is under way already."""
        busy, held = self.busy, self.take()  # in this order: a thread that ends in between has recorded all it did
        if busy or not held or not held.due or held.event_id >= until:
            return
        self._thread = threading.Thread(target=self._deliver, args=(_Place(held), until), name=f"tasker-events {self.name}", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Returns when nothing is being delivered, or the time is over."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _deliver(self, place: _Place, until: int) -> None:
        try:
            while place.event_id < until and self._deliver_some(place, until):
                until = until if place.event_id < until else self._newest()
            self._record(place)
        except (TaskerError, psycopg.Error) as error:
            log.warning("events for %s have to wait: %s", self.name, error)

    def _deliver_some(self, place: _Place, until: int) -> bool:
        """Whether to go on after the next window."""
        if not self._may_go_on(place):
            return False
        events, reached = read_events(self._db, place.event_id, types=self.types, until=until)
        if not all(self._hand_over(event, place) for event in events):
            return False
        place.passed(reached, delivered=0)
        return self._keep_up(place)

    def _may_go_on(self, place: _Place) -> bool:
        return not self._stopping.is_set() and self._fence == place.fence

    def _hand_over(self, event: Event, place: _Place) -> bool:
        """Whether to go on: the event was taken, or laid aside."""
        if not self._may_go_on(place):
            return False
        event_id, event_type = event["event_id"], event["type"]  # the subscriber may do to its event what it likes
        error = self._listener.refusal(event)
        if error is not None:
            return self._record(place) and self._refused(event_id, event_type, error, place)
        place.passed(event_id, delivered=1)
        return self._keep_up(place)

    def _keep_up(self, place: _Place) -> bool:
        return time.monotonic() - place.recorded_at < RECORD_SECONDS or self._record(place)

    def _refused(self, event_id: int, event_type: str, error: BaseException, place: _Place) -> bool:
        attempts, text = place.attempts + 1, _described(error)
        named = (self.name, event_type, event_id)
        if self._is_tried_again(error, place):
            wait = _wait_seconds(error, attempts)
            log.warning("%s failed at %s %s, attempt %d, next in %.1f s: %s", *named, attempts, wait, text)
            self._postpone(place, text, wait, is_failure=not isinstance(error, RetryableError))
            return False
        log.error("%s failed at %s %s for good, it is laid aside (tasker events --undelivered): %s", *named, text)
        return self._lay_aside(place, event_id, text)

    def _is_tried_again(self, error: BaseException, place: _Place) -> bool:
        """A reason that passes is borne with for a time, any other for a number of attempts: the failures alone count, not the hour of an outage before."""
        if isinstance(error, PermanentError):
            return False
        return place.refused_for < PATIENCE if isinstance(error, RetryableError) else place.failures + 1 < self._attempts

    # ---- each names the fence, and answers whether the subscription is still ours

    def _record(self, place: _Place) -> bool:
        if place.recorded:
            return True
        query: LiteralString = "select tasker_record_delivery(%(name)s, %(fence)s, %(event)s, %(delivered)s)"
        parameters = {"name": self.name, "fence": place.fence, "event": place.event_id, "delivered": place.delivered}
        place.kept()
        return bool(self._db.value(query, parameters))

    def _postpone(self, place: _Place, error: str, wait: float, *, is_failure: bool) -> bool:
        query: LiteralString = "select tasker_postpone_event(%(name)s, %(fence)s, %(error)s, %(wait)s, %(is_failure)s)"
        parameters = {"name": self.name, "fence": place.fence, "error": error, "wait": timedelta(seconds=wait), "is_failure": is_failure}
        return bool(self._db.value(query, parameters))

    def _lay_aside(self, place: _Place, event_id: int, error: str) -> bool:
        query: LiteralString = "select tasker_lay_aside_event(%(name)s, %(fence)s, %(event)s, %(error)s)"
        place.passed(event_id, delivered=0)
        place.kept()
        return bool(self._db.value(query, {"name": self.name, "fence": place.fence, "event": event_id, "error": error}))


class EventDelivery:
    """Delivers events to the subscribers of a registry: each has a place, a thread and failures of its own.

    An event is delivered at least once, in order, after it was committed; one that a subscriber fails at `attempts` times, or refuses with a
    RetryableError for longer than PATIENCE, is laid aside.
    """

    def __init__(self, db: Database, registry: HandlerRegistry, *, attempts: int = ATTEMPTS, lease: timedelta = LEASE) -> None:
        self._db = db
        self._owner = str(uuid.uuid4())
        self._stopping = threading.Event()
        self._horizon, self._looking = Horizon(), threading.Lock()
        known = (
            Subscription(db, subscriber, self._owner, lease=lease, attempts=attempts, stopping=self._stopping, newest=self._newest)
            for subscriber in registry.subscribers()
        )
        self.subscriptions = tuple(one for one in known if one.types)

    @property
    def reached(self) -> int:
        """The event id up to which what is due was looked at."""
        return self._horizon.decided

    def subscribe(self) -> None:
        """Every subscriber has its place; what happens from now on reaches it."""
        for subscription in self.subscriptions:
            subscription.subscribe()

    def deliver_due(self) -> None:
        """What is due is on its way to the subscribers that this engine owns, and their leases are renewed; to be called again and again."""
        try:
            with self._looking:
                until = self._reached()
            for subscription in self.subscriptions:
                if not self._stopping.is_set():
                    subscription.begin(until)
        except (TaskerError, psycopg.Error) as error:
            log.debug("events have to wait: %s", error)

    def _newest(self) -> int:
        """What a delivery goes on to when it has come to its end; what was known before, where another is just looking."""
        if not self._looking.acquire(blocking=False):
            return self.reached
        try:
            return self._reached()
        finally:
            self._looking.release()

    def _reached(self) -> int:
        """The event up to which nothing is missing; while transactions under way may hide one of those there are, it is looked for again."""
        reached = self._horizon.look(self._db)
        newest = self._horizon.noted
        for _ in range(LOOKS_AGAIN):
            if reached >= newest or self._stopping.wait(LOOK_AGAIN_SECONDS):
                break
            reached = self._horizon.look(self._db)
        return reached

    def settle(self, seconds: float) -> None:
        """Returns when nothing is being delivered, or the time is over."""
        deadline = time.monotonic() + seconds
        for subscription in self.subscriptions:
            subscription.wait(max(0.0, deadline - time.monotonic()))

    def stop(self, seconds: float = 2.0) -> None:
        """No further event is delivered; other engines may go on at once, unless a subscriber is still busy when the time is over."""
        self._stopping.set()
        self.settle(seconds)
        if not self.subscriptions or any(subscription.busy for subscription in self.subscriptions):
            return
        try:
            self._db.value("select tasker_leave_subscriptions(%(owner)s::uuid)", {"owner": self._owner})
        except (TaskerError, psycopg.Error) as error:
            log.debug("subscriptions are left to run out: %s", error)


# ---- what was laid aside


@dataclass(frozen=True)
class Undelivered:
    """An event that was laid aside for the subscriber `name`: it refused it for good."""

    name: str
    event_id: int
    event_type: str
    task_id: str
    attempts: int
    at: datetime
    error: str


def undelivered(db: Database) -> list[Undelivered]:
    """Every event that is laid aside, by subscriber, oldest first."""
    found = db.rows("""
        select u.name, u.event_id, u.event ->> 'type', u.event ->> 'task_id', u.attempts, u.at, u.error
          from tasker_undelivered u order by u.name collate "C", u.event_id
    """)
    return [Undelivered(*row) for row in found]


@dataclass(frozen=True)
class Redelivered:
    """An event that was handed over again; `error` is why it was refused, None when it was taken."""

    event_id: int
    event_type: str
    error: str | None


def redeliver(db: Database, subscriber: type[Any]) -> Iterator[Redelivered]:
    """What was laid aside for the subscriber is handed to it again, oldest first; what it takes is laid aside no more.

    What it refuses stays, and with a RetryableError everything after it.
    """
    name, listener = str(handler_path(subscriber)), _Listener(subscriber)
    event = _next_laid_aside(db, name, 0)
    while event:
        event_id, event_type = event["event_id"], event["type"]  # the subscriber may do to its event what it likes
        error = listener.refusal(event)
        _settle(db, name, event_id, error)
        yield Redelivered(event_id, event_type, None if error is None else _described(error))
        event = None if isinstance(error, RetryableError) else _next_laid_aside(db, name, event_id)


def _settle(db: Database, name: str, event_id: int, error: BaseException | None) -> None:
    if isinstance(error, KeyboardInterrupt):  # a person's, in the main thread
        raise error
    if error is None:
        db.value("select tasker_accept_undelivered(%(name)s, %(event)s)", {"name": name, "event": event_id})


def _next_laid_aside(db: Database, name: str, after: int) -> Event | None:
    query: LiteralString = "select u.event from tasker_undelivered u where u.name = %(name)s and u.event_id > %(after)s order by u.event_id limit 1"
    found = db.rows(query, {"name": name, "after": after})
    return _shown(db, [{field: row[0].get(field) for field in FIELDS} for row in found])[0] if found else None


# ---- looking at it


@dataclass(frozen=True)
class SubscriptionRow:
    """Where a subscriber stands; `behind_count` is of moves after its place, `undelivered_count` of events laid aside."""

    name: str
    delivered_count: int
    delivered_at: datetime | None
    behind_count: int
    attempts: int
    next_try_at: datetime | None
    last_error: str | None
    undelivered_count: int


def subscriptions(db: Database) -> list[SubscriptionRow]:
    """Every subscriber that was ever seen, by name."""
    found = db.rows("""
        select s.name, s.delivered_count, s.delivered_at, greatest(h.event_id - s.event_id, 0) / 2, s.attempts, s.next_try_at, s.last_error,
               (select count(*) from tasker_undelivered u where u.name = s.name)
          from tasker_subscription s cross join tasker_event_horizon() h order by s.name collate "C"
    """)
    return [SubscriptionRow(*row) for row in found]


def forget(db: Database, name: str) -> int:
    """The subscription of that name is gone, with what was laid aside for it: how much that was. Nothing waits for it any more.

    Raises `NotFound`, and `WrongState` while an engine delivers to it.
    """
    return int(db.value("select tasker_forget_subscription(%(name)s)", {"name": name}))


def subscriber_problems(subscriber: type[Any]) -> list[str]:
    """Which of the types that a class subscribes to it will never hear of, and why, each in words that begin with the class."""
    return [f"{handler_path(subscriber)}: {problem}" for _, problem in _judged_types(subscriber) if problem is not None]


def _served_types(subscriber: type[Any]) -> list[str]:
    """The types a class subscribes to and has a method for; others are left out with a warning, so that the rest is delivered."""
    for problem in subscriber_problems(subscriber):
        log.warning("%s", problem)
    return [one for one, problem in _judged_types(subscriber) if problem is None]


def _judged_types(subscriber: type[Any]) -> list[tuple[Any, str | None]]:
    wanted = subscriber.subscribe_to
    types = list(wanted) if isinstance(wanted, Iterable) and not isinstance(wanted, str) else [wanted]
    return [(one, type_problem(one) or _method_problem(subscriber, one)) for one in types]


def _method_problem(subscriber: type[Any], event_type: str) -> str | None:
    return None if _method(subscriber, event_type) else f"subscribes to {event_type} but has no method {_method_name(event_type)}"


def _method(subscriber: Any, event_type: str) -> Any:
    return getattr(subscriber, _method_name(event_type), None) or getattr(subscriber, "handle_event", None)


def _method_name(event_type: str) -> str:
    return f"handle_{event_type.replace('.', '_')}"


def _wait_seconds(error: BaseException, attempts: int) -> float:
    asked = delay_seconds(error.delay) if isinstance(error, RetryableError) else None
    if asked is not None:
        return asked if attempts < ATTEMPTS else max(asked, LONGEST_WAIT_SECONDS)  # who asks for no wait at all is not called without end
    longest = LONGEST_WAIT_TO_PASS_SECONDS if isinstance(error, RetryableError) else LONGEST_WAIT_SECONDS
    return min(longest, FIRST_WAIT_SECONDS * 2.0 ** min(attempts - 1, 30))


def _described(error: BaseException) -> str:
    try:
        text = f"{type(error).__name__}: {error}"[:LONGEST_ERROR]
    except Exception:  # its own __str__ is broken
        text = type(error).__name__
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
