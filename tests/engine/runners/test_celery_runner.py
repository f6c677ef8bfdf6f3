"""The engine's side of Celery: whatever broker and database do, every call goes back or is waited for, and messages go on to be looked after."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
import pytest

from engine import TaskRequest, deliveries, tasks
from engine.celery_worker import CeleryBroker, make_app
from engine.db import Database
from engine.definition import StepTemplate, TaskDefinition
from engine.deliveries import Ended, Seen
from engine.errors import DatabaseUnavailable
from engine.runners import CANCELLED, COMPLETED, RELEASED, StepCall, TaskInfo
from engine.runners import celery as celery_runner
from engine.runners.celery import BrokerAway, CeleryRunner

PATIENCE_SECONDS = 0.2
Start = Callable[..., CeleryRunner]


class Posts:
    """The orders as the database has them; `begin` and `end` are what a worker does."""

    def __init__(self) -> None:
        self.concurrency, self.version = [2], celery_runner.OURS
        self.errors: list[Exception] = []
        self._waiting: set[int] = set()
        self._begun: set[int] = set()
        self._ended: list[Ended] = []

    def post(self, orders: Sequence[tuple[int, int, int, int]]) -> dict[int, str]:
        self._fail()
        self._waiting.update(order[0] for order in orders)
        return {order[0]: str(order[0]) for order in orders}

    def begin(self, token: str) -> None:
        self._waiting.remove(int(token))
        self._begun.add(int(token))

    def end(self, token: str) -> None:
        self._ended.append(Ended(int(token), COMPLETED, "null", "a worker"))

    def take(self, told: Sequence[int]) -> tuple[list[Ended], list[Any]]:
        self._ended = [each for each in self._ended if each.number not in told]
        self._begun.difference_update(told)
        return list(self._ended), []

    def withdraw(self, numbers: Sequence[int]) -> set[int]:
        self._waiting.difference_update(numbers)
        return set(numbers) - self._begun

    def drop(self) -> None:
        self._waiting.clear()

    def places(self) -> list[Seen]:
        self._fail()
        return [Seen("a worker", concurrency, self.version) for concurrency in self.concurrency]

    def wait(self, connection: Any, seconds: float) -> Any:
        time.sleep(0.005)

    def close(self) -> None:
        pass

    def _fail(self) -> None:
        if self.errors:
            raise self.errors.pop()


class Broker:
    """Notes what is sent; `meanwhile` happens in the middle of it, and may raise."""

    name = "memory://"

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.checks = 0
        self.meanwhile: Callable[[str], None] = lambda token: None

    def check(self) -> None:
        self.checks += 1

    def send(self, token: str, ids: Mapping[str, Any]) -> None:
        self.meanwhile(token)
        self.tokens.append(token)

    def is_looked_at(self, *, times: int) -> bool:
        """Whether so many more checks come soon; the last but one is over then, with all that it does."""
        wanted, deadline = self.checks + times, time.monotonic() + 10
        while self.checks < wanted and time.monotonic() < deadline:
            time.sleep(0.005)
        return self.checks >= wanted


@pytest.fixture
def posts() -> Posts:
    """A database without orders."""
    return Posts()


@pytest.fixture
def broker() -> Broker:
    """A broker that answers."""
    return Broker()


@pytest.fixture
def start(posts: Posts, broker: Broker, inbox: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a runner that looks around often, and is stopped when the test is over."""
    monkeypatch.setattr(celery_runner, "CHECK_SECONDS", 0.02)
    runners: list[CeleryRunner] = []

    def begin(patience: float = PATIENCE_SECONDS) -> CeleryRunner:
        runners.append(CeleryRunner(posts, broker, lambda word, now: word, patience=patience))
        runners[-1].start(inbox.deliver, lambda call, names: {}, inbox.hear)
        return runners[-1]

    yield begin
    for runner in runners:
        runner.stop(0)


# ---- workers


def test_a_worker_of_another_version_is_told_of(start: Start, posts: Posts, broker: Broker) -> None:
    runner = start()
    assert (runner.standing()["state"], runner.standing()["said"]) == ("connected", "")
    posts.version = "0.0.1"
    assert broker.is_looked_at(times=2)
    assert (runner.standing()["state"], runner.room() > 0) == ("troubled", True)
    assert f"a worker has tasker-engine 0.0.1 instead of {celery_runner.OURS}" in runner.standing()["said"]


# ---- messages go out


def test_a_message_carries_a_token_and_ids_and_nothing_else(posts: Posts, calls: Any, inbox: Any) -> None:
    app = make_app("memory://")
    runner, call = CeleryRunner(posts, CeleryBroker(app), lambda word, now: word), calls("echo", value="hunter22")
    runner.start(inbox.deliver, lambda call, names: {}, inbox.hear)
    try:
        runner.submit([call])
        with app.connection_for_read() as connection:
            message = connection.SimpleQueue("tasker").get(timeout=5)
    finally:
        runner.stop(0)
    token, ids, _ = message.payload
    assert (token, ids) == (["1"], {"task_id": call.task.public_id, "step": "echo", "attempt": 1})
    assert "hunter22" not in f"{message.body}{message.headers}{message.properties}"


def test_a_message_that_is_being_sent_is_not_overdue_however_long_the_others_take(start: Start, posts: Posts, broker: Broker, calls: Any, inbox: Any) -> None:
    """Forbids: a look for overdue messages in the middle of a batch withdraws those whose turn has not come."""
    runner, batch, looked = start(), [calls("nothing") for _ in range(3)], []

    def begun(token: str) -> None:
        looked.append(broker.is_looked_at(times=3))
        posts.begin(token)

    broker.meanwhile = begun
    runner.submit(batch)
    assert looked == [True, True, True]
    for token in broker.tokens:
        posts.end(token)
    assert inbox.wait(*batch) == [(COMPLETED, None)] * 3


def test_a_message_is_not_sent_once_its_step_was_cancelled(start: Start, broker: Broker, calls: Any, inbox: Any) -> None:
    """Forbids: a cancellation between two messages of a batch ends the thread that sends them."""
    runner, first, second = start(patience=60), calls("nothing"), calls("nothing")
    broker.meanwhile = lambda token: runner.cancel(second)
    runner.submit([first, second])
    assert inbox.wait(second) == (CANCELLED, None)
    assert len(broker.tokens) == 1
    assert first not in inbox.outcomes


def test_what_was_not_sent_as_the_broker_went_away_goes_back_at_once(start: Start, posts: Posts, broker: Broker, calls: Any, inbox: Any) -> None:
    runner, sent, others = start(patience=60), calls("nothing"), [calls("nothing") for _ in range(2)]

    def away(token: str) -> None:
        if broker.tokens:
            raise BrokerAway("the broker is away")

    broker.meanwhile = away
    runner.submit([sent, *others])
    assert inbox.wait(*others, seconds=1) == [(RELEASED, None)] * 2
    posts.begin(broker.tokens[0])
    posts.end(broker.tokens[0])
    assert inbox.wait(sent) == (COMPLETED, None)


def test_what_cannot_be_posted_goes_back_whatever_the_reason(start: Start, posts: Posts, calls: Any, inbox: Any) -> None:
    runner, call = start(), calls("nothing")
    posts.errors.append(psycopg.errors.InsufficientPrivilege("permission denied for table tasker_delivery"))
    posts.places = lambda: [2]  # type: ignore[method-assign]
    runner.submit([call])
    assert inbox.wait(call, seconds=1) == (RELEASED, None)


# ---- they are looked after


def test_what_nobody_begins_in_time_goes_back(start: Start, calls: Any, inbox: Any) -> None:
    runner, call = start(), calls("nothing")
    runner.submit([call])
    assert inbox.wait(call) == (RELEASED, None)


@pytest.mark.parametrize("error", [psycopg.errors.InsufficientPrivilege("permission denied"), psycopg.errors.FeatureNotSupported("cached plan must not change result type")])
def test_outcomes_are_taken_after_an_error_that_nobody_expected(
    start: Start, posts: Posts, broker: Broker, calls: Any, inbox: Any, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    runner, call = start(patience=60), calls("nothing")
    runner.submit([call])
    posts.begin(broker.tokens[0])
    with caplog.at_level(logging.WARNING):
        posts.errors.append(error)
        assert broker.is_looked_at(times=3)
    assert [str(error) in record.getMessage() for record in caplog.records if record.name == "engine.runners.celery"] == [True]
    posts.end(broker.tokens[0])
    assert inbox.wait(call, seconds=5) == (COMPLETED, None)
    assert runner.standing()["state"] == "connected"


def test_nothing_ends_the_thread_that_takes_outcomes(start: Start, posts: Posts, broker: Broker, calls: Any, inbox: Any) -> None:
    runner, call = start(), calls("nothing")
    withdraw, failed = posts.withdraw, threading.Event()

    def fails_once(numbers: Sequence[int]) -> set[int]:
        if failed.is_set():
            return withdraw(numbers)
        failed.set()
        raise psycopg.errors.InsufficientPrivilege("permission denied for table tasker_delivery")

    posts.withdraw = fails_once  # type: ignore[method-assign]
    runner.submit([call])
    assert inbox.wait(call, seconds=5) == (RELEASED, None)
    assert failed.is_set()


def test_workers_that_cannot_load_their_handlers_are_no_room_and_the_engines_page_says_so(start: Start, posts: Posts, broker: Broker, eventually: Any) -> None:
    runner = start()
    assert runner.room() == 4
    posts.concurrency = [0, 0]
    assert eventually(lambda: runner.room() == 0)
    standing = runner.standing()
    assert (standing["state"], standing["workers"], standing["threads"]) == ("troubled", 2, 0)
    assert "load its handlers" in standing["said"]
    posts.concurrency = [0, 3]
    assert eventually(lambda: runner.room() == 6)
    assert runner.standing()["state"] == "connected"


# ---- answers that are lost


ONE = TaskDefinition("tests", "one", version="1.0.0", steps=(StepTemplate("only", handler_class=lambda: None),))


@pytest.fixture
def held(db: Database, conn: psycopg.Connection[Any]) -> StepCall:
    """A step that a living engine holds."""
    number = tasks.register_definition(db, ONE)
    task_id = tasks.submit(db, TaskRequest("one", "tests"))
    worker = conn.execute("select tasker_register_worker('an engine', 'celery', 1, %s, '1 hour', false)", [[number]]).fetchone()
    assert worker
    [(task_no, step_no, _, attempt)] = conn.execute("select * from tasker_claim_steps(%s, 1, 1, %s)", [worker[0], [number]]).fetchall()
    return StepCall(TaskInfo(task_no, task_id, "tests", "one", "1.0.0", ONE, "{}"), step_no, attempt, 3, {})


@pytest.mark.parametrize(
    ("lost", "kind"),
    [("tasker_take_deliveries", COMPLETED), ("tasker_take_delivery_words", COMPLETED), ("tasker_withdraw_deliveries", RELEASED)],
)
def test_what_came_of_a_step_is_heard_though_an_answer_was_lost(
    database_url: str, broker: Broker, held: StepCall, inbox: Any, eventually: Callable[..., bool], monkeypatch: pytest.MonkeyPatch, lost: str, kind: int
) -> None:
    # Forbids that the database forgets an end once it has told of it: a living engine that missed the answer would hold the step for ever.
    monkeypatch.setattr(celery_runner, "CHECK_SECONDS", 0.05)
    orders, station = deliveries.Posts(database_url, str(uuid4()), call_seconds=5), deliveries.Deliveries(database_url, "a worker", contact=30)
    missed = miss_one_answer(monkeypatch, orders, lost)
    station.beat(1, [])
    runner = CeleryRunner(orders, broker, deliveries.heard, patience=0.1 if kind == RELEASED else 60)
    runner.start(inbox.deliver, lambda call, names: {}, inbox.hear)
    try:
        runner.submit([held])
        assert eventually(lambda: broker.tokens, 10)
        if kind == COMPLETED:
            station.begin(broker.tokens[0])
            station.end(broker.tokens[0], COMPLETED, '"done"')
        assert eventually(lambda: held in inbox.outcomes, 10)
        assert (inbox.outcomes[held][0], missed.is_set()) == (kind, True)
    finally:
        runner.stop(0)
        station.close()


def miss_one_answer(monkeypatch: pytest.MonkeyPatch, orders: deliveries.Posts, function: str) -> threading.Event:
    """The first call of it that has something to tell is carried out, and its answer is lost; set when that has been."""
    ask, missed = orders._db.rows, threading.Event()
    # of words there are none here: theirs is the answer behind that of an end
    told: LiteralString | None = "select from tasker_delivery where kind is not null" if function == "tasker_take_delivery_words" else None

    def rows(query: LiteralString, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        found = ask(query, parameters)
        if f"{function}(" in query and not missed.is_set() and (found if told is None else ask(told)):
            missed.set()
            raise DatabaseUnavailable("the connection is gone, and the answer with it")
        return found

    monkeypatch.setattr(orders._db, "rows", rows)
    return missed
