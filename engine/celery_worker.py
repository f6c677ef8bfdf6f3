"""The application that Celery's workers run for `tasker engine --runner celery`: `celery -A engine.celery_worker worker`.

A message brings a token. What it stands for is read from the database, run in handler processes of this worker, and its outcome is left there for
the engine. Settings: TASKER_DATABASE_URL, TASKER_BROKER_URL, TASKER_HANDLERS, and TASKER_QUEUE where it is not `tasker`.
"""

from __future__ import annotations

import logging
import math
import os
import platform
import queue
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import celery  # type: ignore[import-untyped]
from celery import signals

from engine.deliveries import Begun, Deliveries
from engine.errors import DatabaseUnavailable, TaskerError
from engine.journal import Said
from engine.runners import RELEASED
from engine.runners.celery import BrokerAway
from engine.runners.failures import is_lacking
from engine.runners.orders import Order
from engine.runners.place import Place
from engine.settings import Settings

log = logging.getLogger(__name__)

TASK: Final = "tasker.run_step"
BEAT_SECONDS: Final = 0.5
CONTACT_SECONDS: Final = 10.0
END_AGAIN_SECONDS: Final = 0.5
GRACE_SECONDS: Final = 30.0
CONNECT_SECONDS: Final = 3.0
IDLE_SECONDS: Final = 120.0  # longer than until the next task of what is scheduled every minute
HOLD_SECONDS: Final = 5.0
TRY_AGAIN_SECONDS: Final = 10.0


def make_app(broker_url: str, options: Mapping[str, Any] | None = None) -> Any:
    """The application at that broker; its messages are data, never code."""
    made = celery.Celery("tasker", broker=broker_url)
    made.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_default_queue=os.environ.get("TASKER_QUEUE", "tasker"),
        worker_pool="threads",
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=CONNECT_SECONDS,
        broker_transport_options=dict(options or {}),
    )
    return made


def transport_options(environment: Mapping[str, str]) -> dict[str, Any]:
    """Of a broker that is a folder (`filesystem://`), which TASKER_BROKER_FOLDER names: for tests, and for trying it out."""
    folder = environment.get("TASKER_BROKER_FOLDER")
    return {"data_folder_in": folder, "data_folder_out": folder, "control_folder": f"{folder}-control"} if folder else {}


class CeleryBroker:
    """The broker as an engine uses it."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.name: str = app.connection_for_write().as_uri()

    def check(self) -> None:
        """Raises `BrokerAway` unless it answers."""
        try:
            with self._app.connection_for_write(connect_timeout=CONNECT_SECONDS) as connection:
                connection.ensure_connection(max_retries=1, timeout=CONNECT_SECONDS)
        except Exception as error:
            raise self._away(error) from error

    def send(self, token: str, ids: Mapping[str, Any]) -> None:
        """A message with the token, and with ids for people. Raises `BrokerAway`."""
        try:
            self._app.send_task(TASK, args=[token], kwargs=dict(ids), retry=False)
        except Exception as error:
            raise self._away(error) from error

    def _away(self, error: Exception) -> BrokerAway:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return BrokerAway(f"the broker {self.name} cannot be reached: {first}")


class Station:
    """This process as a place where deliveries are carried out: a place of handler processes for each engine that sends some.

    While its handlers cannot be loaded engines are told that it has no room, and what comes all the same is released, slowly.
    """

    def __init__(self, deliveries: Deliveries, sources: Sequence[str], concurrency: int) -> None:
        self._deliveries = deliveries
        self._sources, self._concurrency = tuple(sources), concurrency
        self._telling = threading.Lock()
        self._words: queue.SimpleQueue[tuple[str, Said, float]] = queue.SimpleQueue()
        self._book = threading.Lock()  # guards what follows
        self._places: dict[str, Place] = {}
        self._used_at: dict[str, float] = {}
        self._begun: dict[str, Begun] = {}
        self._begun_at: dict[str, Place] = {}
        self._tokens: dict[tuple[str, int], str] = {}
        self._problem: str | None = None
        self._trial: Place | None = None
        self._try_at = math.inf
        threading.Thread(target=self._beat_forever, name="tasker-beat", daemon=True).start()

    def carry_out(self, token: str) -> None:
        """What the token stands for is done, and its outcome is there for its sender; nothing happens when it was done before."""
        begun = self._deliveries.begin(token)
        if begun is None:
            log.info("a message came twice, or too late; nothing is done")
            return
        with self._book:  # before it asks for its place, which is not given up from now on
            self._begun[token] = begun
            self._tokens[begun.sender, begun.number] = token
        try:
            kind, payload = self._run(token, begun)
            self._tell_words()
        finally:
            with self._book:  # before its end, after which a beat would miss it
                self._begun.pop(token, None)
                self._begun_at.pop(token, None)
                self._tokens.pop((begun.sender, begun.number), None)
        self._end(token, kind, payload)

    def _run(self, token: str, begun: Begun) -> tuple[int, str]:
        place = self._place(token, begun.sender)
        if place is not None:
            kind, payload, _ = place.run([_order(begun)])[0]
            if is_lacking(kind, payload):
                log.warning("a step of %s goes back, as this worker has no handlers of it", begun.key)
                return _held_back(kind, payload)
            if place.problem is None:
                return kind, payload
            self._give_up(begun.sender, place)
        return _held_back(RELEASED, "null")

    def _place(self, token: str, sender: str) -> Place | None:
        """Where that order runs; None while handlers cannot be loaded."""
        with self._book:
            place = self._places.get(sender)
            if place is None or place.is_closed:
                if self._problem is not None:
                    return None
                place = self._places[sender] = self._opened(sender, self._concurrency, until=time.monotonic() + CONTACT_SECONDS)
            self._begun_at[token], self._used_at[sender] = place, time.monotonic()
            return place

    def _opened(self, sender: str, concurrency: int, *, until: float) -> Place:
        place = Place(self._sources, concurrency, grace=GRACE_SECONDS, until=until, ask=self._asks(sender), tell=self._tells(sender))
        place.open()
        return place

    def _asks(self, sender: str) -> Callable[[int, list[str]], dict[str, str]]:
        return lambda number, names: self._deliveries.results(self._tokens[sender, number], names)

    def _tells(self, sender: str) -> Callable[[int, Said], None]:
        def tell(number: int, said: Said) -> None:
            if token := self._tokens.get((sender, number)):
                self._words.put((token, said, said.at))

        return tell

    def _end(self, token: str, kind: int, payload: str) -> None:
        until = time.monotonic() + CONTACT_SECONDS  # then it is lost to its engine anyhow
        while time.monotonic() < until:
            try:
                if not self._deliveries.end(token, kind, payload):
                    log.warning("the outcome of a step came too late, as nothing had been heard of this worker")
                return
            except DatabaseUnavailable as error:
                log.warning("an outcome has to wait: %s", error)
                time.sleep(END_AGAIN_SECONDS)

    # ---- beats

    def _beat_forever(self) -> None:
        while True:
            try:
                self._tell_words()
                self._beat()
                self._close_idle()
                self._try_handlers()
            except TaskerError as error:
                log.warning("this worker has no database and tries again: %s", error)
            except Exception:
                log.exception("a beat went wrong, and is made again")
            time.sleep(BEAT_SECONDS)

    def _beat(self) -> None:
        with self._book:
            begun = dict(self._begun)
            concurrency = self._concurrency if self._problem is None else 0
        asked = time.monotonic()
        beats = {beat.token: beat for beat in self._deliveries.beat(concurrency, list(begun))}
        with self._book:
            places = dict(self._places)
            begun_at = {token: self._begun_at[token] for token in begun if token in self._begun_at}
        for sender, place in places.items():
            of_it = {token: begun[token] for token, at in begun_at.items() if at is place}
            if any(token not in beats for token in of_it):
                self._dismiss(sender, place)
                continue
            until = asked + min((beats[token].seconds for token in of_it), default=CONTACT_SECONDS)
            place.renew(until, until)
            for token, one in of_it.items():
                if beats[token].cancel_requested:
                    place.cancel(one.number)

    def _dismiss(self, sender: str, place: Place) -> None:
        """Its engine is gone, or has given up on us."""
        log.warning("an engine does not wait for its steps here any more; they end")
        with self._book:
            self._leave(sender, place)
        _close(place)

    def _leave(self, sender: str, place: Place) -> bool:
        """Nothing more begins there; False when that was so before."""
        is_known = self._places.get(sender) is place
        if is_known:
            del self._places[sender], self._used_at[sender]
        return is_known

    # ---- places that nobody needs

    def _close_idle(self) -> None:
        """Each life of an engine is a sender of its own: the places of former ones would stay, with all their processes."""
        for place in self._take_idle():
            _close(place)

    def _take_idle(self) -> list[Place]:
        now = time.monotonic()
        with self._book:  # whoever has noted an order by now keeps its place, and whoever comes later gets a new one
            busy = {begun.sender for begun in self._begun.values()} & self._places.keys()
            self._used_at.update(dict.fromkeys(busy, now))
            idle = [sender for sender, used_at in self._used_at.items() if now - used_at > IDLE_SECONDS]
            for sender in idle:
                del self._used_at[sender]
            return [self._places.pop(sender) for sender in idle]

    # ---- handlers that cannot be loaded

    def _give_up(self, sender: str, place: Place) -> None:
        """Its handlers could not be loaded; of the orders that waited for them, the first says so."""
        with self._book:
            if self._leave(sender, place):
                self._suffer(place.problem)

    def _suffer(self, problem: str | None) -> None:
        if problem != self._problem:
            log.error("no step runs here, and engines are told so, until the handlers can be loaded: %s", problem)
        self._problem, self._try_at = problem, time.monotonic() + TRY_AGAIN_SECONDS

    def _try_handlers(self) -> None:
        """As no engine sends orders meanwhile, it is only here that they are found to load again."""
        with self._book:
            if self._trial is not None:
                self._look_at_trial(self._trial)
            elif self._problem is not None and time.monotonic() > self._try_at:
                self._trial = self._opened("", 1, until=math.inf)

    def _look_at_trial(self, trial: Place) -> None:
        if trial.problem is not None:
            self._trial = None
            self._suffer(trial.problem)
        elif trial.is_open:
            self._trial = self._problem = None
            log.info("the handlers can be loaded again")
            _close(trial)

    # ---- what handlers say

    def _tell_words(self) -> None:
        with self._telling:  # whoever has taken words has written them before a step's end is told
            self._tell(self._take_words())

    def _take_words(self) -> list[tuple[str, Said, float]]:
        words = []
        while True:
            try:
                words.append(self._words.get_nowait())
            except queue.Empty:
                return words

    def _tell(self, words: list[tuple[str, Said, float]]) -> None:
        if not words:
            return
        now = time.monotonic()
        try:
            self._deliveries.say([(token, said, now - at) for token, said, at in words])
        except DatabaseUnavailable as error:
            log.warning("what handlers said is lost: %s", error)


def _held_back(kind: int, payload: str) -> tuple[int, str]:
    """Later: who can do nothing answers fastest, and would get nearly all messages, again and again."""
    time.sleep(HOLD_SECONDS)
    return kind, payload


def _close(place: Place) -> None:
    """In a thread of its own: it waits for processes to end, and the other places need their beats."""
    threading.Thread(target=place.close, name="tasker-close", daemon=True).start()


def _order(begun: Begun) -> Order:
    return Order(
        begun.number, begun.key, begun.step_no, begun.template_no, begun.timeout, begun.attempt, begun.retry_limit, begun.task_id,
        begun.context_json, begun.correlation_id, begun.traceparent, {}, begun.item,
    )  # fmt: skip


app = make_app(os.environ.get("TASKER_BROKER_URL", "redis://127.0.0.1:6379/0"), transport_options(os.environ))
_station: Station | None = None
_opening = threading.Lock()
_concurrency = 1
_is_prefork = False


def station() -> Station:
    """The one of this process; made when first asked for. Raises `TaskerError` without a database."""
    global _station
    with _opening:
        if _station is None:
            settings = Settings.from_environ()
            if settings.database_url is None:
                raise TaskerError("a worker needs TASKER_DATABASE_URL, the database of the engines that it works for")
            place = f"{platform.node() or 'localhost'}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
            deliveries = Deliveries(settings.database_url, place, contact=CONTACT_SECONDS)
            _station = Station(deliveries, settings.handlers, _concurrency)
        return _station


@signals.worker_init.connect  # type: ignore[untyped-decorator]
def _note_concurrency(sender: Any = None, **_: Any) -> None:
    global _concurrency, _is_prefork
    _is_prefork = "prefork" in str(sender.pool_cls)
    _concurrency = 1 if _is_prefork else max(1, int(sender.concurrency or 1))


@signals.worker_ready.connect  # type: ignore[untyped-decorator]
def _be_seen(**_: Any) -> None:
    """Engines send nothing before a worker has been heard of."""
    if not _is_prefork:
        station()


@signals.worker_process_init.connect  # type: ignore[untyped-decorator]
def _be_seen_in_a_fork(**_: Any) -> None:
    """Where the pool forks, each of its processes is a place of its own."""
    station()


@app.task(name=TASK)  # type: ignore[untyped-decorator]
def run_step(token: str, **_: Any) -> None:
    """What the token stands for is done, once."""
    station().carry_out(token)
