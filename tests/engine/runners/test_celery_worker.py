"""A Celery worker's places: there while steps begin there, ended with their processes when none do, and no trap while handlers cannot be loaded."""

from __future__ import annotations

import itertools
import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine import celery_worker
from engine.celery_worker import Station
from engine.deliveries import Beat, Begun
from engine.runners import COMPLETED, FAILED, RELEASED
from engine.runners.processes import ProcessesRunner

HANDLERS = Path(__file__).parent / "handlers"
CONTACT_SECONDS = 5.0
HOLD_SECONDS = 0.5

Start = Callable[..., Station]


class Deliveries:
    """Orders without a database; `beats` are the concurrencies that were told of."""

    def __init__(self, definition: Any) -> None:
        self.beats: list[int] = []
        self.outcomes: dict[str, tuple[int, Any]] = {}
        self.over = threading.Event()
        self._definition = definition
        self._orders: dict[str, Begun] = {}
        self._numbers = itertools.count(1)

    def post(self, step: str, *, sender: str = "an engine", key: str | None = None, **context: Any) -> str:
        """The token of a new order."""
        number, no = next(self._numbers), self._definition.numbers[step]
        task = f"00000000-0000-4000-8000-{number:012d}"
        begun = Begun(sender, number, key or self._definition.key, no, no, None, 1, 3, task, json.dumps(context), None, None, None)
        self._orders[str(number)] = begun
        return str(number)

    def begin(self, token: str) -> Begun | None:
        return self._orders.pop(token, None)

    def beat(self, concurrency: int, tokens: Sequence[str]) -> list[Beat]:
        if self.over.is_set():
            threading.Event().wait()  # the station has no end of its own
        self.beats.append(concurrency)
        return [Beat(token, CONTACT_SECONDS, False) for token in tokens]

    def end(self, token: str, kind: int, payload: str) -> bool:
        self.outcomes[token] = kind, json.loads(payload)
        return True


@pytest.fixture
def deliveries(definition: Any) -> Deliveries:
    """No orders yet."""
    return Deliveries(definition)


@pytest.fixture
def start(deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a station that is quick in all that it does; nothing runs there after the test."""
    stations: list[Station] = []
    pace = {"BEAT_SECONDS": 0.02, "CONTACT_SECONDS": CONTACT_SECONDS, "HOLD_SECONDS": HOLD_SECONDS, "TRY_AGAIN_SECONDS": 0.3}

    def begin(source: Path = HANDLERS / "misbehaving.py", **seconds: float) -> Station:
        for name, value in (pace | seconds).items():
            monkeypatch.setattr(celery_worker, name, value, raising=False)
        stations.append(Station(deliveries, [str(source)], 2))  # type: ignore[arg-type]
        return stations[-1]

    yield begin
    deliveries.over.set()
    for place in [place for station in stations for place in station._places.values()]:
        place.close()


def carried_out(station: Station, deliveries: Deliveries, step: str, **order: Any) -> tuple[int, Any]:
    """What came of a new order."""
    token = deliveries.post(step, **order)
    station.carry_out(token)
    return deliveries.outcomes[token]


# ---- places that nobody needs


def test_a_place_where_nothing_begins_ends_with_its_processes_and_comes_again_when_asked_for(start: Start, deliveries: Deliveries, eventually: Any) -> None:
    station = start(IDLE_SECONDS=0.3)
    ended: list[int] = []
    for sender in ("an engine", "its next life", "another"):
        _, pid = carried_out(station, deliveries, "pid", sender=sender)
        ended += [pid, psutil.Process(pid).ppid()]
    assert eventually(lambda: not any(map(is_running, ended)))
    assert carried_out(station, deliveries, "echo", sender="an engine", value=1) == (COMPLETED, 1)


def test_a_place_stays_while_a_step_runs_there(start: Start, deliveries: Deliveries) -> None:
    station = start(IDLE_SECONDS=0.1)
    assert carried_out(station, deliveries, "sleep", seconds=1)[0] == COMPLETED
    assert carried_out(station, deliveries, "pid")[0] == COMPLETED


def test_an_order_that_comes_while_its_place_is_given_up_is_run(start: Start, deliveries: Deliveries) -> None:
    """Forbids: an order finds its place, and the place is closed before the order has begun there."""
    station = start(IDLE_SECONDS=0.0, BEAT_SECONDS=0.001)
    assert [carried_out(station, deliveries, "echo", value=number) for number in range(5)] == [(COMPLETED, number) for number in range(5)]


# ---- handlers that are not there


def test_a_step_whose_version_a_worker_lacks_goes_back_uncharged_and_not_at_once(start: Start, deliveries: Deliveries) -> None:
    station = start()
    began = time.monotonic()
    kind, error = carried_out(station, deliveries, "pid", key="tests/misbehaving@2.0.0")
    assert (kind, error["type"], error["uncharged"]) == (FAILED, "handler_missing", True)
    assert time.monotonic() - began >= HOLD_SECONDS
    assert carried_out(station, deliveries, "echo", value=1) == (COMPLETED, 1)


def test_a_worker_whose_handlers_cannot_be_loaded_holds_orders_back_has_no_room_and_says_why_once(
    start: Start, deliveries: Deliveries, eventually: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    source = tmp_path / "flows.py"
    source.write_text("raise RuntimeError('a library is missing')\n")
    station = start(source)
    with caplog.at_level(logging.ERROR):
        for sender in ("an engine", "an engine", "another"):
            began = time.monotonic()
            assert carried_out(station, deliveries, "pid", sender=sender) == (RELEASED, None)
            assert time.monotonic() - began >= HOLD_SECONDS
        assert eventually(lambda: deliveries.beats[-1] == 0)
    assert ["a library is missing" in record.getMessage() for record in caplog.records if record.name == "engine.celery_worker"] == [True]


def test_a_worker_finds_by_itself_that_its_handlers_can_be_loaded_again(start: Start, deliveries: Deliveries, eventually: Any, tmp_path: Path) -> None:
    source = tmp_path / "misbehaving.py"
    source.write_text("raise RuntimeError('a library is missing')\n")
    station = start(source)
    assert carried_out(station, deliveries, "echo", value=1) == (RELEASED, None)
    assert eventually(lambda: deliveries.beats[-1] == 0)
    shutil.copy(HANDLERS / "misbehaving.py", source)
    assert eventually(lambda: deliveries.beats[-1] == 2)
    assert carried_out(station, deliveries, "echo", value=1) == (COMPLETED, 1)


def test_whatever_keeps_handler_processes_from_starting_counts_as_handlers_that_cannot_be_loaded(
    start: Start, deliveries: Deliveries, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    station = start()
    with monkeypatch.context() as patch:
        patch.setattr(ProcessesRunner, "start", fails)
        assert carried_out(station, deliveries, "pid") == (RELEASED, None)
        assert eventually(lambda: deliveries.beats[-1] == 0)
    assert eventually(lambda: deliveries.beats[-1] == 2)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
