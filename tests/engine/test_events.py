"""Events reach their subscribers: each once in the ordinary case, in order, later rather than never; and a failing subscriber harms no one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from engine import EventSubscriber, PermanentError, RequestError, RetryableError, TaskRequest, Workflow, events, tasks
from engine.db import Database
from engine.errors import NotFound, WrongState
from engine.events import EventDelivery, EventReader, Horizon, read_events
from engine.registry import HandlerRegistry
from engine.testing.emptying import end_sessions
from engine.webhooks import EVENT_ID, WebhookSubscriber

Conn = psycopg.Connection[Any]
PATIENCE_SECONDS = 60.0


@pytest.fixture
def one_step(registry: HandlerRegistry, db: Database) -> None:
    """The workflow `tests/one_step`: a single step, `work`."""
    workflow = Workflow("one_step", namespace="tests", version="1.0.0")
    workflow.define("work")
    tasks.register_definition(db, workflow.definition)


@pytest.fixture
def delivery(one_step: None, registry: HandlerRegistry, database_url: str) -> Iterator[Callable[..., EventDelivery]]:
    """Makes one engine's delivery to the subscribers there are; all are stopped after the test."""
    with ExitStack() as stack:

        def made(**options: Any) -> EventDelivery:
            database = Database(database_url, max_size=2)
            stack.callback(database.close)
            one = EventDelivery(database, registry, **options)
            stack.callback(one.stop)
            one.subscribe()
            return one

        yield made


@pytest.fixture
def move_clock(admin: Conn, conn: Conn, set_clock: Callable[[timedelta], None]) -> Callable[..., None]:
    """Everyone's clock on the test's database is ahead by so much from now on; sessions of the old time are ended."""

    def move(**ahead: float) -> None:
        set_clock(timedelta(**ahead))
        end_sessions(admin, conn.info.dbname, but=[conn.info.backend_pid])

    return move


def run_task(conn: Conn, db: Database, *, ends: str = "completed", context: dict[str, Any] | None = None) -> str:
    """A task whose one step ended so, by hand as from psql; its id."""
    task = tasks.submit(db, TaskRequest("one_step", "tests", context=context or {"order_id": 1}))
    step = "(select step_id from tasker_steps where task_id = %s)"
    for move in (("ready", "running"), ("running", ends)):
        conn.execute(f"select tasker_update_step_status({step}, %s, %s)".encode(), [task, *move])
    conn.execute("select count(*) from tasker_resolve_dependencies(%s)", [task])
    return task


def deliver(one: EventDelivery, db: Database) -> None:
    """Everything that has happened by now is delivered, as far as it will be."""
    newest = events.newest_event(db)
    until(lambda: _delivered_up_to(one, newest), "the horizon to pass what has happened")


def _delivered_up_to(one: EventDelivery, newest: int) -> bool:
    one.deliver_due()
    one.settle(PATIENCE_SECONDS)
    passed = one._horizon.decided >= newest
    if passed:
        one.deliver_due()
        one.settle(PATIENCE_SECONDS)
    return passed


def until(look: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not look():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.005)


def subscription(db: Database, name: str) -> events.SubscriptionRow:
    return next(row for row in events.subscriptions(db) if row.name.endswith(name))


# ---- the ordinary case


def test_a_subscriber_receives_what_it_asked_for_once_and_in_order(delivery: Callable[..., EventDelivery], conn: Conn, db: Database) -> None:
    heard: list[dict[str, Any]] = []

    class Monitor(EventSubscriber):
        subscribe_to = ["step.completed", "task.completed"]

        def handle_step_completed(self, event: dict[str, Any]) -> None:
            heard.append(event)

        def handle_task_completed(self, event: dict[str, Any]) -> None:
            heard.append(event)

    one = delivery()
    ids = [run_task(conn, db) for _ in range(3)]
    deliver(one, db)
    deliver(one, db)
    assert [(event["task_id"], event["type"]) for event in heard] == [(task, kind) for task in ids for kind in ("step.completed", "task.completed")]
    assert heard[0]["namespace"] == "tests"
    assert heard[0]["context"] == {"order_id": 1}
    assert subscription(db, "Monitor").delivered_count == 6


def test_an_event_has_the_fields_of_the_catalogue(delivery: Callable[..., EventDelivery], conn: Conn, db: Database) -> None:
    heard: list[dict[str, Any]] = []

    class Everything(EventSubscriber):
        subscribe_to = events.EVENT_TYPES

        async def handle_event(self, event: dict[str, Any]) -> None:
            heard.append(event)

    one = delivery()
    run_task(conn, db)
    run_task(conn, db, ends="failed")
    deliver(one, db)
    kinds = {kind.name: kind for kind in events.CATALOGUE}
    assert {event["type"] for event in heard} == {"task.started", "step.started", "step.completed", "step.failed", "task.completed", "task.failed"}
    for event in heard:
        assert list(event) == list(events.FIELDS)
        filled = {name for name, value in event.items() if value is not None}
        said = {*events.COMMON_FIELDS, *kinds[event["type"]].fields}
        assert filled <= said, event
        assert said - filled <= {"correlation_id", "result"}, event


def test_a_new_subscriber_starts_now_or_at_the_beginning(delivery: Callable[..., EventDelivery], conn: Conn, db: Database) -> None:
    new: list[str] = []
    old: list[str] = []

    class New(EventSubscriber):
        subscribe_to = ["task.completed"]

        def handle_task_completed(self, event: dict[str, Any]) -> None:
            new.append(event["task_id"])

    class Old(EventSubscriber):
        subscribe_to = ["task.completed"]
        from_start = True

        def handle_task_completed(self, event: dict[str, Any]) -> None:
            old.append(event["task_id"])

    before = run_task(conn, db)
    one = delivery()
    after = run_task(conn, db)
    deliver(one, db)
    assert (new, old) == ([after], [before, after])


class RoundTrips:
    """How often windows of the events are read."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.count = 0
        patch.setattr(events, "read_events", self._counted)

    def _counted(self, *given: Any, **named: Any) -> tuple[list[dict[str, Any]], int]:
        self.count += 1
        return read_events(*given, **named)


@pytest.fixture
def from_start(registry: HandlerRegistry) -> list[str]:
    """What a subscriber that begins at the beginning has heard: the ids of completed tasks."""
    heard: list[str] = []

    class Old(EventSubscriber):
        subscribe_to = ["task.completed"]
        from_start = True

        def handle_task_completed(self, event: dict[str, Any]) -> None:
            heard.append(event["task_id"])

    return heard


def roll_up(conn: Conn) -> None:
    """Everything that has happened by now is counted."""
    last = conn.execute("select max(event_id) from tasker_history").fetchall()[0][0] or 0
    until(lambda: conn.execute("select counted_to from tasker_roll_up()").fetchall()[0][0] >= last, "the roll-ups")


def drop(conn: Conn, *ids: str) -> None:
    """These tasks and a billion moves after them are gone after their retention."""
    roll_up(conn)
    conn.execute("select tasker_forget_tasks(array(select task_no from tasker_task where task_id = any(%s)))", [list(ids)])
    conn.execute("select setval(s::regclass, nextval(s::regclass) + 1000000000) from pg_get_serial_sequence('tasker_history', 'event_id') s")


def test_a_new_subscriber_begins_with_what_is_left(
    from_start: list[str], delivery: Callable[..., EventDelivery], conn: Conn, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(conn, run_task(conn, db))
    left = run_task(conn, db)
    roll_up(conn)
    trips, one = RoundTrips(monkeypatch), delivery()
    first = conn.execute("select min(event_id) from tasker_history").fetchall()[0][0]
    assert conn.execute("select event_id from tasker_subscription").fetchall() == [(2 * first - 1,)]
    deliver(one, db)
    assert from_start == [left]
    assert trips.count < 9


def test_a_new_subscriber_begins_behind_what_was_dropped_when_nothing_is_left(
    from_start: list[str], delivery: Callable[..., EventDelivery], conn: Conn, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = run_task(conn, db)
    last = conn.execute("select max(event_id) from tasker_history").fetchall()[0][0]
    drop(conn, gone)
    trips, one = RoundTrips(monkeypatch), delivery()
    assert conn.execute("select event_id >= %s from tasker_subscription", [2 * last]).fetchall() == [(True,)]
    new = run_task(conn, db)
    deliver(one, db)
    assert from_start == [new]
    assert trips.count < 9


def test_what_was_dropped_between_two_tasks_is_passed_at_once(
    from_start: list[str], delivery: Callable[..., EventDelivery], conn: Conn, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, gone = run_task(conn, db), run_task(conn, db)
    one = delivery()
    drop(conn, gone)
    second = run_task(conn, db)
    trips = RoundTrips(monkeypatch)
    deliver(one, db)
    assert from_start == [first, second]
    assert trips.count < 9


def test_a_new_subscriber_hears_of_what_was_under_way_when_it_came(
    from_start: list[str], delivery: Callable[..., EventDelivery], database_url: str, conn: Conn, db: Database
) -> None:
    # forbids: a transaction has taken its numbers, a later one is seen first, the subscriber begins with that, and then the earlier one commits
    with psycopg.connect(database_url) as slow:
        early = run_task(slow, db)
        late = run_task(conn, db)
        one = delivery()
    deliver(one, db)
    assert from_start == [early, late]
    assert events.before_oldest_event(db) < 2 * conn.execute("select min(event_id) from tasker_history").fetchall()[0][0]


def test_a_subscriber_that_was_away_misses_nothing(delivery: Callable[..., EventDelivery], conn: Conn, db: Database) -> None:
    heard: list[str] = []

    class Monitor(EventSubscriber):
        subscribe_to = ["task.completed"]

        def handle_task_completed(self, event: dict[str, Any]) -> None:
            heard.append(event["task_id"])

    first = delivery()
    ids = [run_task(conn, db)]
    deliver(first, db)
    first.stop()
    ids += [run_task(conn, db) for _ in range(3)]
    deliver(delivery(), db)
    assert heard == ids


def test_many_events_are_delivered_in_several_rounds_each_once(delivery: Callable[..., EventDelivery], conn: Conn, db: Database) -> None:
    heard: list[int] = []

    class Monitor(EventSubscriber):
        subscribe_to = ["step.started", "step.completed"]

        def handle_event(self, event: dict[str, Any]) -> None:
            heard.append(event["event_id"])

    one = delivery()
    for _ in range(events.WINDOW // 2):
        run_task(conn, db)
    deliver(one, db)
    assert len(heard) == events.WINDOW
    assert heard == sorted(set(heard))


# ---- failures


def test_an_event_that_fails_is_tried_again_and_others_are_not_held_up(delivery: Callable[..., EventDelivery], conn: Conn, db: Database, move_clock: Callable[..., None]) -> None:
    tried: list[str] = []
    calm: list[str] = []

    class Shaky(EventSubscriber):
        subscribe_to = ["task.completed"]

        def handle_task_completed(self, event: dict[str, Any]) -> None:
            tried.append(event["task_id"])
            if len(tried) < 3:
                raise ConnectionError("not now")

    class Calm(EventSubscriber):
        subscribe_to = ["task.completed"]

        def handle_task_completed(self, event: dict[str, Any]) -> None:
            calm.append(event["task_id"])

    one = delivery()
    first, second = run_task(conn, db), run_task(conn, db)
    deliver(one, db)
    assert (tried, calm) == ([first], [first, second])
    row = subscription(db, "Shaky")
    assert (row.attempts, row.last_error, row.delivered_count) == (1, "ConnectionError: not now", 0)
    assert row.next_try_at is not None
    deliver(one, db)
    assert tried == [first], "its back-off is not over"
    for minute in (1, 2):
        move_clock(minutes=minute)
        deliver(one, db)
    assert tried == [first, first, first, second]
    assert subscription(db, "Shaky").last_error is None


def test_waits_grow_and_a_handler_may_ask_for_its_own() -> None:
    waits = [events._wait_seconds(ValueError(), attempts) for attempts in (1, 2, 3, 10)]
    assert waits == [1.0, 2.0, 4.0, 60.0]
    assert [events._wait_seconds(RetryableError(), attempts) for attempts in (1, 9, 10, 10_000)] == [1.0, 256.0, 300.0, 300.0]
    assert events._wait_seconds(RetryableError("later", delay=5), 3) == 5.0
    assert [events._wait_seconds(RetryableError("later", delay=delay), 10) for delay in (0, 3600)] == [60.0, 3600.0]


class Post:
    """A receiver of webhooks that is reached without a network: `status` is what it answers, and what it took are the ids."""

    def __init__(self) -> None:
        self.status, self.asked = 503, 0
        self.taken: list[int] = []

    def client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.status == 204:
            self.taken.append(int(request.headers[EVENT_ID]))
        return httpx.Response(self.status)


@pytest.fixture
def post(registry: HandlerRegistry) -> Post:
    """The receiver of the webhook `Hook`, which is down."""
    receiver = Post()

    class Hook(WebhookSubscriber):
        subscribe_to = ["step.completed", "task.completed"]
        url = "https://shipping.example.com/hooks"

        def _client(self) -> httpx.Client:
            return receiver.client()

    return receiver


def ids_of(db: Database, *types: str) -> list[int]:
    """Every event of these types that there is."""
    return [event["event_id"] for event in read_events(db, 0, 1000, types, until=events.newest_event(db))[0]]


def test_a_receiver_that_is_down_for_an_hour_gets_everything_once_and_in_order_when_it_is_back(
    post: Post, delivery: Callable[..., EventDelivery], conn: Conn, db: Database, move_clock: Callable[..., None]
) -> None:
    one = delivery()
    for minute in range(0, 60, 5):
        move_clock(minutes=minute)
        run_task(conn, db)
        deliver(one, db)
    assert post.asked > events.ATTEMPTS
    row = subscription(db, "Hook")
    assert (row.attempts, row.delivered_count, row.undelivered_count) == (post.asked, 0, 0)
    post.status = 204
    move_clock(minutes=60)
    deliver(one, db)
    assert post.taken == ids_of(db, "step.completed", "task.completed")
    assert len(post.taken) == 24
    assert conn.execute("select attempts, failures, first_refused_at, last_error from tasker_subscription").fetchall() == [(0, 0, None, None)]


def test_a_day_after_its_first_refusal_an_event_is_laid_aside_whoever_delivers_by_then(
    post: Post, delivery: Callable[..., EventDelivery], conn: Conn, db: Database, move_clock: Callable[..., None]
) -> None:
    first = delivery()
    run_task(conn, db)
    deliver(first, db)
    first.stop()
    second = delivery()
    move_clock(hours=23, minutes=59)
    deliver(second, db)
    assert subscription(db, "Hook").undelivered_count == 0
    move_clock(hours=24, minutes=1)
    deliver(second, db)
    assert [(row.event_type, row.attempts, row.error) for row in events.undelivered(db)] == [
        ("step.completed", 3, "RetryableError: shipping.example.com answered 503")
    ]
    assert subscription(db, "Hook").attempts == 1, "the next event has a day of its own"


def test_an_outage_uses_up_none_of_the_attempts_that_a_failure_has(
    post: Post, delivery: Callable[..., EventDelivery], conn: Conn, db: Database, move_clock: Callable[..., None]
) -> None:
    one = delivery(attempts=2)
    run_task(conn, db)
    for minute, status in enumerate([503, 503, 503, 404]):
        post.status = status
        move_clock(minutes=5 * minute)
        deliver(one, db)
    assert subscription(db, "Hook").undelivered_count == 0
    post.status = 204
    move_clock(minutes=30)
    deliver(one, db)
    assert post.taken == ids_of(db, "step.completed", "task.completed")


def test_a_failure_of_another_kind_is_laid_aside_after_ten_attempts(
    delivery: Callable[..., EventDelivery], conn: Conn, db: Database, move_clock: Callable[..., None]
) -> None:
    tried: list[str] = []

    class Wrong(EventSubscriber):
        subscribe_to = ["task.completed"]

        def handle_task_completed(self, event: dict[str, Any]) -> None:
            tried.append(event["task_id"])
            raise KeyError("order")

    one = delivery()
    task = run_task(conn, db)
    for minute in range(9):
        move_clock(minutes=minute)
        deliver(one, db)
    assert events.undelivered(db) == []
    move_clock(minutes=9)
    deliver(one, db)
    assert tried == [task] * 10
    assert [(row.task_id, row.attempts, row.error) for row in events.undelivered(db)] == [(task, 10, "KeyError: 'order'")]


def test_a_poison_event_is_laid_aside_after_the_last_attempt_and_delivery_goes_on(
    delivery: Callable[..., EventDelivery], conn: Conn, db: Database, move_clock: Callable[..., None]
) -> None:
    taken: list[str] = []
    poison: list[str] = []

    class Picky(EventSubscriber):
        subscribe_to = ["task.completed"]

        def handle_task_completed(self, event: dict[str, Any]) -> None:
            if event["task_id"] in poison:
                raise ValueError("half a \ud800 and a \x00")
            taken.append(event["task_id"])

    one = delivery(attempts=2)
    ids = [run_task(conn, db) for _ in range(3)]
    poison.append(ids[1])
    deliver(one, db)
    move_clock(minutes=1)
    deliver(one, db)
    assert taken == [ids[0], ids[2]]
    [(name, event, attempts, error)] = conn.execute("select name, event, attempts, error from tasker_undelivered").fetchall()
    assert name.endswith("Picky")
    assert (event["task_id"], event["type"], attempts) == (ids[1], "task.completed", 2)
    assert error.startswith("ValueError: half a ")
    assert subscription(db, "Picky").undelivered_count == 1


def test_what_a_subscriber_does_to_its_event_or_raises_does_not_stop_delivery(
    delivery: Callable[..., EventDelivery], conn: Conn, db: Database
) -> None:
    taken: list[str] = []

    class Unspeakable(BaseException):
        def __str__(self) -> str:
            raise ValueError

    class Vandal(EventSubscriber):
        subscribe_to = ["task.completed"]

        def handle_task_completed(self, event: dict[str, Any]) -> None:
            taken.append(event["task_id"])
            event.clear()
            event["context"] = object()
            raise Unspeakable

    one = delivery(attempts=1)
    ids = [run_task(conn, db) for _ in range(2)]
    deliver(one, db)
    assert taken == ids
    kept = conn.execute("select event ->> 'task_id', error from tasker_undelivered order by event_id").fetchall()
    assert kept == [(task, "Unspeakable") for task in ids]


def test_a_permanent_error_lays_the_event_aside_at_once(delivery: Callable[..., EventDelivery], conn: Conn, db: Database) -> None:
    taken: list[str] = []

    class Picky(EventSubscriber):
        subscribe_to = ["task.completed"]

        def handle_task_completed(self, event: dict[str, Any]) -> None:
            taken.append(event["task_id"])
            if len(taken) == 1:
                raise PermanentError("never")

    one = delivery()
    ids = [run_task(conn, db) for _ in range(2)]
    deliver(one, db)
    assert taken == ids
    assert conn.execute("select event ->> 'task_id', attempts from tasker_undelivered").fetchall() == [(ids[0], 1)]


class Fussy(EventSubscriber):
    """Refuses what `refusals` says of an event's task, by its id."""

    subscribe_to = ("task.completed",)
    refusals: dict[str, Exception]
    taken: list[dict[str, Any]]

    def handle_task_completed(self, event: dict[str, Any]) -> None:
        if error := self.refusals.get(event["task_id"]):
            raise error
        self.taken.append(event)


@pytest.fixture
def fussy(registry: HandlerRegistry, one_step: None, delivery: Callable[..., EventDelivery], conn: Conn, db: Database) -> list[str]:
    """The ids of three tasks whose ends were laid aside for `Fussy`, which takes everything now."""
    registry.add_subscriber(Fussy)
    one = delivery()
    ids = [run_task(conn, db) for _ in range(3)]
    Fussy.refusals, Fussy.taken = {task: PermanentError("never") for task in ids}, []
    deliver(one, db)
    Fussy.refusals = {}
    return ids


def test_what_was_laid_aside_is_delivered_again_oldest_first_and_is_laid_aside_no_more(fussy: list[str], db: Database) -> None:
    ids = ids_of(db, "task.completed")
    assert [(row.name, row.event_id, row.event_type, row.task_id, row.error) for row in events.undelivered(db)] == [
        (f"{__name__}.Fussy", event_id, "task.completed", task, "PermanentError: never") for event_id, task in zip(ids, fussy, strict=True)
    ]
    assert list(events.redeliver(db, Fussy)) == [events.Redelivered(event_id, "task.completed", None) for event_id in ids]
    assert Fussy.taken == read_events(db, 0, 1000, ["task.completed"], until=events.newest_event(db))[0], "the same events"
    assert events.undelivered(db) == []
    assert (subscription(db, "Fussy").delivered_count, list(events.redeliver(db, Fussy))) == (3, [])


def test_what_is_refused_again_stays_laid_aside_and_the_rest_is_delivered(fussy: list[str], db: Database) -> None:
    Fussy.refusals = {fussy[0]: ValueError("never")}
    assert [one.error for one in events.redeliver(db, Fussy)] == ["ValueError: never", None, None]
    assert [row.task_id for row in events.undelivered(db)] == fussy[:1]


def test_a_receiver_that_is_down_again_is_not_asked_for_every_event_that_was_laid_aside(fussy: list[str], db: Database) -> None:
    Fussy.refusals = {fussy[1]: RetryableError("down")}
    assert [one.error for one in events.redeliver(db, Fussy)] == [None, "RetryableError: down"]
    assert [row.task_id for row in events.undelivered(db)] == fussy[1:]


def test_secrets_are_hidden_from_a_delivery_that_comes_late_too(registry: HandlerRegistry, delivery: Callable[..., EventDelivery], conn: Conn, db: Database) -> None:
    registry.add_subscriber(Fussy)
    one = delivery()
    task = run_task(conn, db, context={"password": "hunter2"})
    Fussy.refusals, Fussy.taken = {task: PermanentError("never")}, []
    deliver(one, db)
    Fussy.refusals = {}
    assert [one.error for one in events.redeliver(db, Fussy)] == [None]
    assert Fussy.taken[0]["context"] == {"password": "***"}


def test_a_forgotten_subscription_is_gone_with_what_was_laid_aside_and_begins_anew(fussy: list[str], registry: HandlerRegistry, delivery: Callable[..., EventDelivery], conn: Conn, db: Database) -> None:
    name = f"{__name__}.Fussy"
    with pytest.raises(WrongState, match="an engine delivers"):
        events.forget(db, name)
    conn.execute("update tasker_subscription set owner = null, lease_until = null")
    assert events.forget(db, name) == 3
    assert (events.subscriptions(db), events.undelivered(db)) == ([], [])
    with pytest.raises(NotFound, match="no subscription"):
        events.forget(db, name)
    one = delivery()
    task = run_task(conn, db)
    deliver(one, db)
    assert [event["task_id"] for event in Fussy.taken] == [task]


def test_ctrl_c_ends_a_delivery_that_was_asked_for(fussy: list[str], db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Fussy, "handle_task_completed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(events.redeliver(db, Fussy))
    assert len(events.undelivered(db)) == 3


def test_a_subscriber_that_cannot_even_be_made_is_tried_again(delivery: Callable[..., EventDelivery], conn: Conn, db: Database) -> None:
    class Broken(EventSubscriber):
        subscribe_to = ["task.completed"]

        def __init__(self) -> None:
            raise SystemExit("no settings")

        def handle_task_completed(self, event: dict[str, Any]) -> None: ...

    one = delivery()
    run_task(conn, db)
    deliver(one, db)
    assert subscription(db, "Broken").last_error == "SystemExit: no settings"


def test_what_a_class_cannot_serve_is_named_and_the_rest_is_delivered(
    delivery: Callable[..., EventDelivery], conn: Conn, db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    class Sloppy(EventSubscriber):
        subscribe_to = ["step.complete", "step.failed", "task.completed"]

        def handle_task_completed(self, event: dict[str, Any]) -> None:
            heard.append(event["task_id"])

    class Silent(EventSubscriber):
        """A base class of the author's own: it asks for nothing."""

    one = delivery()
    assert [subscription.types for subscription in one.subscriptions] == [["task.completed"]]
    assert "there is no event 'step.complete'; did you mean 'step.completed'?" in caplog.text
    assert "subscribes to step.failed but has no method handle_step_failed" in caplog.text
    task = run_task(conn, db)
    deliver(one, db)
    assert heard == [task]


def test_an_outage_of_the_database_is_waited_out(delivery: Callable[..., EventDelivery], conn: Conn, db: Database) -> None:
    heard: list[str] = []

    class Monitor(EventSubscriber):
        subscribe_to = ["task.completed"]

        def handle_task_completed(self, event: dict[str, Any]) -> None:
            conn.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and usename = current_user")
            heard.append(event["task_id"])

    one = delivery()
    task = run_task(conn, db)
    deliver(one, db)
    assert heard[0] == task
    assert set(heard) == {task}


# ---- several engines


def test_of_two_engines_one_delivers(delivery: Callable[..., EventDelivery], conn: Conn, db: Database) -> None:
    heard: list[str] = []

    class Monitor(EventSubscriber):
        subscribe_to = ["task.completed"]

        def handle_task_completed(self, event: dict[str, Any]) -> None:
            heard.append(event["task_id"])

    engines = [delivery(), delivery()]
    ids = [run_task(conn, db) for _ in range(20)]
    threads = [threading.Thread(target=deliver, args=(one, db)) for one in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == ids


def test_another_engine_goes_on_at_once_when_one_stops_and_after_the_lease_when_one_dies(
    delivery: Callable[..., EventDelivery], conn: Conn, db: Database, move_clock: Callable[..., None]
) -> None:
    heard: list[str] = []

    class Monitor(EventSubscriber):
        subscribe_to = ["task.completed"]

        def handle_task_completed(self, event: dict[str, Any]) -> None:
            heard.append(event["task_id"])

    first, second, third = delivery(), delivery(), delivery()
    deliver(first, db)
    first.stop()
    ids = [run_task(conn, db)]
    deliver(second, db)
    assert heard == ids
    # the second says nothing more, as if it were dead
    ids.append(run_task(conn, db))
    deliver(third, db)
    assert heard == ids[:1]
    move_clock(minutes=1)
    deliver(third, db)
    assert heard == ids


def test_an_engine_that_lost_its_lease_while_a_subscriber_was_busy_records_nothing(
    delivery: Callable[..., EventDelivery], conn: Conn, db: Database, move_clock: Callable[..., None]
) -> None:
    # the interleaving that would skip events: the late one's report moves the place that the new owner has
    heard: list[str] = []
    entered, go_on = threading.Event(), threading.Event()

    class Slow(EventSubscriber):
        subscribe_to = ["task.completed"]

        def handle_task_completed(self, event: dict[str, Any]) -> None:
            heard.append(event["task_id"])
            if len(heard) == 1:
                entered.set()
                assert go_on.wait(PATIENCE_SECONDS)

    late, new = delivery(), delivery()
    ids = [run_task(conn, db) for _ in range(2)]
    until(lambda: late.deliver_due() or entered.is_set(), "the first event to arrive")
    move_clock(minutes=1)
    deliver(new, db)
    place = conn.execute("select event_id, fence, delivered_count from tasker_subscription").fetchone()
    go_on.set()
    late.settle(PATIENCE_SECONDS)
    assert heard[0] == ids[0]
    assert heard[1:3] == ids, "at least once, in order"
    assert conn.execute("select event_id, fence, delivered_count from tasker_subscription").fetchone() == place


def test_a_delivery_under_way_goes_on_to_what_has_happened_meanwhile(delivery: Callable[..., EventDelivery], conn: Conn, db: Database) -> None:
    # Forbids: what comes while a subscriber is busy waits for the next round, which may find it busy again.
    heard: list[str] = []
    at_work, go_on = threading.Event(), threading.Event()

    class Slow(EventSubscriber):
        subscribe_to = "task.completed"

        def handle_task_completed(self, event: dict[str, Any]) -> None:
            at_work.set()
            assert go_on.wait(PATIENCE_SECONDS)
            heard.append(event["task_id"])

    one = delivery()
    first = run_task(conn, db)
    until(lambda: one.deliver_due() or at_work.is_set(), "the first event")
    second = run_task(conn, db)
    newest = events.newest_event(db)
    until(lambda: one.deliver_due() or one._horizon.decided >= newest, "the horizon")
    one.deliver_due()
    go_on.set()
    one.settle(PATIENCE_SECONDS)
    assert heard == [first, second]


def test_what_a_transaction_under_way_may_hide_is_looked_for_again_in_the_same_round(
    delivery: Callable[..., EventDelivery], conn: Conn, db: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []

    class Monitor(EventSubscriber):
        subscribe_to = "task.completed"

        def handle_task_completed(self, event: dict[str, Any]) -> None:
            heard.append(event["task_id"])

    one = delivery()
    task = run_task(conn, db)
    waits: list[float] = []
    with psycopg.connect(database_url) as slow:
        slow.execute("select pg_current_xact_id()")

        def wait(seconds: float) -> bool:
            waits.append(seconds)
            if len(waits) == 3:
                slow.commit()
            time.sleep(0.01)
            return False

        monkeypatch.setattr(events, "LOOKS_AGAIN", 1000)  # any transaction of the server holds it, another test's too
        monkeypatch.setattr(one._stopping, "wait", wait)
        one.deliver_due()
    one.settle(PATIENCE_SECONDS)
    assert len(waits) >= 3
    assert heard == [task]


def test_a_busy_subscribers_lease_is_renewed(delivery: Callable[..., EventDelivery], conn: Conn, db: Database, move_clock: Callable[..., None]) -> None:
    entered, go_on = threading.Event(), threading.Event()

    class Slow(EventSubscriber):
        subscribe_to = ["task.completed"]

        def handle_task_completed(self, event: dict[str, Any]) -> None:
            entered.set()
            assert go_on.wait(PATIENCE_SECONDS)

    one = delivery()
    run_task(conn, db)
    until(lambda: one.deliver_due() or entered.is_set(), "the event to arrive")
    before = conn.execute("select fence, lease_until from tasker_subscription").fetchone()
    move_clock(seconds=10)
    until(lambda: one.deliver_due() or conn.execute("select fence, lease_until from tasker_subscription").fetchone() != before, "a renewal")
    after = conn.execute("select fence, lease_until from tasker_subscription").fetchone()
    go_on.set()
    assert before is not None
    assert after is not None
    assert after[0] == before[0]
    assert after[1] > before[1]


# ---- reading


def test_a_reader_starts_now_and_misses_no_late_commit(one_step: None, conn: Conn, db: Database, database_url: str) -> None:
    run_task(conn, db)
    reader = EventReader(db, types=["task.completed"])
    early = tasks.submit(db, TaskRequest("one_step", "tests"))
    with psycopg.connect(database_url) as slow:
        slow.execute("select tasker_update_step_status(step_id, 'ready', 'running') from tasker_steps where task_id = %s", [early])
        slow.execute("select tasker_update_step_status(step_id, 'running', 'completed') from tasker_steps where task_id = %s", [early])
        slow.execute("select count(*) from tasker_resolve_dependencies(%s)", [early])
        late = run_task(conn, db)
        assert [reader.read() for _ in range(5)] == [[]] * 5
    heard: list[str] = []
    until(lambda: heard.extend(event["task_id"] for event in reader.read()) or len(heard) >= 2, "both")
    assert heard == [early, late]
    again = EventReader(db, reader.cursor)
    assert again.read() == []


def test_reading_is_bounded_and_goes_on_at_its_cursor(one_step: None, conn: Conn, db: Database) -> None:
    for _ in range(3):
        run_task(conn, db)
    horizon, newest = Horizon(), events.newest_event(db)
    until(lambda: horizon.look(db) >= newest, "the horizon")
    found: list[int] = []
    cursor = 0
    while cursor < newest:
        some, cursor = read_events(db, cursor, 2, until=newest)
        assert len(some) <= 4
        found += [event["event_id"] for event in some]
    assert found == [event["event_id"] for event in read_events(db, 0, 1000, until=newest)[0]]
    assert read_events(db, cursor, 2, until=newest) == ([], cursor)


# ---- publishing


def test_a_handlers_own_event_reaches_subscribers_in_its_place(delivery: Callable[..., EventDelivery], conn: Conn, db: Database) -> None:
    heard: list[dict[str, Any]] = []

    class Prices(EventSubscriber):
        subscribe_to = ["order.priced", "task.completed"]

        def handle_event(self, event: dict[str, Any]) -> None:
            heard.append(event)

    one = delivery()
    task = tasks.submit(db, TaskRequest("one_step", "tests", correlation_id="req-1"))
    events.publish_event(db, "order.priced", {"total": 12}, task=task, step_name="work")
    deliver(one, db)
    [event] = heard
    assert (event["type"], event["data"], event["task_id"], event["step_name"]) == ("order.priced", {"total": 12}, task, "work")
    assert (event["correlation_id"], event["namespace"]) == ("req-1", "tests")


@pytest.mark.parametrize("name", ["step.completed", "step.complete", "Order.Priced", "order", "order priced", "", None, "task.mine"])
def test_a_name_that_is_no_own_event_is_refused(one_step: None, db: Database, name: Any) -> None:
    task = tasks.submit(db, TaskRequest("one_step", "tests"))
    with pytest.raises(RequestError) as refused:
        events.publish_event(db, name, task=task)
    assert refused.value.problems[0].code == "bad_event_type"


def test_data_that_is_no_json_and_tasks_that_are_not_there_are_refused(one_step: None, db: Database) -> None:
    task = tasks.submit(db, TaskRequest("one_step", "tests"))
    with pytest.raises(RequestError, match="data"):
        events.publish_event(db, "order.priced", {1, 2}, task=task)
    for unknown in ("00000000-0000-4000-8000-000000000000", "no id"):
        with pytest.raises(NotFound):
            events.publish_event(db, "order.priced", task=unknown)


# ---- the catalogue


def test_the_handbook_says_what_the_catalogue_says() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "events.md").read_text()
    rows = {cells[0].strip("` "): cells[1].strip() for line in text.splitlines() if line.startswith("| `") for cells in [line.strip("|").split("|")]}
    assert rows == {kind.name: kind.meaning for kind in events.CATALOGUE}
    assert all(f"`{name}`" in text for name in events.FIELDS if name != "data")
