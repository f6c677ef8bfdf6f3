"""What runs in a worker of a Dask cluster: it opens a place for each engine that beats, and executes that engine's orders there.

`dask` calls these functions through the scheduler. They answer with plain data and, run_orders aside, at once.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import platform
import queue
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from distributed import get_worker

from engine.errors import RetryableError
from engine.journal import Line, Said
from engine.runners import RELEASED
from engine.runners.orders import Order
from engine.runners.place import Place, Timed

ANSWER_SECONDS: Final = 30.0
EXECUTING: Final = ("executing", "long-running")
PROCESS: Final = uuid.uuid4().hex

_places: dict[str, Place] = {}
_questions: dict[tuple[str, int], queue.SimpleQueue[tuple[dict[str, str] | None, str]]] = {}
_numbers = itertools.count()
_book = threading.Lock()


class Terms(NamedTuple):
    """What an engine wants of its place; `contact` is how many seconds it may be silent."""

    sources: tuple[str, ...]
    grace: float
    contact: float


class Answer(NamedTuple):
    """What a worker says to a beat: its clock, who it is, and how its place for the engine fares."""

    clock: float
    process: str
    life: str
    is_open: bool
    problem: str | None
    versions: dict[str, str]


def versions() -> dict[str, str]:
    """Of this process: Python to its minor version, the others exactly."""
    packages = ("distributed", "tasker-engine")
    return {"Python": ".".join(platform.python_version_tuple()[:2])} | {name: importlib.metadata.version(name) for name in packages}


def beat(engine: str, terms: Terms, until: float | None, may_start_until: float, dask_worker: Any = None) -> Answer:
    """The engine lives; its place is open, or opens. Times are by this machine's clock; without one, it is the first beat."""
    place = _place(engine, terms, dask_worker)
    if until is not None:
        place.renew(until, may_start_until)
    return Answer(time.monotonic(), PROCESS, place.life, place.is_open, place.problem, versions())


def run_orders(engine: str, life: str, orders: Sequence[Order]) -> list[Timed]:
    """What became of the orders; those that were meant for another life of the place are released."""
    place = _places.get(engine)
    if place is None or place.life != life:
        return [(RELEASED, "null", None) for _ in orders]
    return place.run([Order(*order) for order in orders], _wanted())


def cancel_order(engine: str, number: int) -> None:
    """It is asked to stop, or does not begin."""
    if place := _places.get(engine):
        place.cancel(number)


def close_place(engine: str) -> None:
    """The engine has done with this worker; what it still runs here ends and is released."""
    if place := _places.pop(engine, None):
        threading.Thread(target=place.close, name="tasker-close", daemon=True).start()


def answer_question(engine: str, question: int, found: dict[str, str] | None, error: str) -> None:
    """What the engine found of what a handler asked for."""
    if waiting := _questions.pop((engine, question), None):
        waiting.put((found, error))


def _place(engine: str, terms: Terms, worker: Any) -> Place:
    with _book:
        place = _places.get(engine)
        if place is None or place.is_closed:
            place = _places[engine] = Place(
                terms.sources,
                worker.state.nthreads,
                grace=terms.grace,
                until=time.monotonic() + terms.contact,
                ask=_asks(engine, worker),
                tell=_tells(engine, worker),
            )
            place.open()
        return place


def _wanted() -> Callable[[], bool]:
    """Whether the scheduler still wants the task of this thread: it does not once the engine that submitted it is gone."""
    worker = get_worker()
    key = worker.get_current_task()

    def is_wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state in EXECUTING

    return is_wanted


def _tells(engine: str, worker: Any) -> Callable[[int, Said], None]:
    def tell(number: int, said: Said) -> None:
        at, *rest = said
        worker.log_event(engine, ["said", number, isinstance(said, Line), time.monotonic() - at, rest])

    return tell


def _asks(engine: str, worker: Any) -> Callable[[int, list[str]], dict[str, str]]:
    def ask(number: int, names: list[str]) -> dict[str, str]:
        question = next(_numbers)
        answer = _questions[engine, question] = queue.SimpleQueue()
        worker.log_event(engine, ["asks", number, worker.address, question, names])
        try:
            found, error = answer.get(timeout=ANSWER_SECONDS)
        except queue.Empty:
            _questions.pop((engine, question), None)
            found, error = None, "the engine did not answer"
        if found is None:
            raise RetryableError(error)
        return found

    return ask
