"""Where one engine's handlers run on another machine: handler processes that live only as long as that engine is heard of.

A worker of a cluster opens a place per engine. Handlers run in processes of their own, so a crash, a hang or a time limit costs one attempt,
and an engine that has died leaves nothing running beside the engine that takes its steps over.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Final

from engine.journal import Said
from engine.runners import CANCELLED, RELEASED, Outcome, StepCall
from engine.runners.orders import Order, Outlines
from engine.runners.processes import ProcessesRunner

log = logging.getLogger(__name__)

OPEN_SECONDS: Final = 60.0  # handlers may take their time to load
LOOK_SECONDS: Final = 0.2

Result = tuple[int, str]
Timed = tuple[int, str, float | None]
"""A result, and how many seconds such a step takes there."""
Ask = Callable[[int, list[str]], dict[str, str]]
Tell = Callable[[int, Said], None]


def always() -> bool:
    """Nobody but the engine ends it."""
    return True


class _Ending:
    """The outcome of one order, once there is one."""

    __slots__ = ("call", "result", "there")

    def __init__(self, call: StepCall) -> None:
        self.call = call
        self.there = threading.Event()
        self.result: Result = RELEASED, "null"


class Place:
    """Runs orders in `concurrency` handler processes until `until`, a moment of this machine's clock that the engine moves on.

    `ask` fetches the results of farther ancestors for an order's number; `tell` takes what its handler says. `problem` says why the handlers
    could not be loaded: then every order is released at once, and nothing of the place is left but this word.
    """

    def __init__(self, sources: Sequence[str], concurrency: int, *, grace: float, until: float, ask: Ask, tell: Tell) -> None:
        self.life = uuid.uuid4().hex
        self.problem: str | None = None
        self.is_open = self.is_closed = False
        self._until = until
        self._ask, self._tell = ask, tell
        self._runner = ProcessesRunner(concurrency, sources=sources, grace=grace)
        self._outlines = Outlines()
        self._book = threading.Lock()
        self._endings: dict[StepCall, _Ending] = {}
        self._calls: dict[int, StepCall] = {}
        self._cancelled: set[int] = set()
        self._decided = threading.Event()

    def open(self) -> None:
        """The handlers load, in a thread of their own; then orders are taken."""
        threading.Thread(target=self._live, name="tasker-place", daemon=True).start()

    def renew(self, until: float, may_start_until: float) -> None:
        """The engine lives: what runs may go on until then, and what waits may begin."""
        self._until = until
        self._runner.may_start_until = may_start_until

    def run(self, orders: Sequence[Order], is_wanted: Callable[[], bool] = always) -> list[Timed]:
        """What became of the orders. One that cannot begin is released; once they are not wanted, the engine is gone, and the place with it."""
        self._decided.wait(OPEN_SECONDS)
        endings = self._begin(orders)
        for ending in endings:
            while not ending.there.wait(LOOK_SECONDS):
                if not is_wanted():
                    self.close()
        with self._book:
            self._cancelled.difference_update(order.number for order in orders)
        return [(*ending.result, self._runner.usual_seconds(ending.call)) for ending in endings]

    def cancel(self, number: int) -> None:
        """That order is asked to stop, or does not begin."""
        with self._book:
            self._cancelled.add(number)
            call = self._calls.get(number)
        if call is not None:
            self._runner.cancel(call)

    def close(self) -> None:
        """Nothing runs here any more; what did is released."""
        with self._book:
            already, self.is_closed = self.is_closed, True
        self._decided.set()
        if not already and self.is_open:
            self._runner.stop(0)

    def _live(self) -> None:
        try:
            self._runner.start(self._deliver, self._look_up, self._hear)
            self.is_open = True
        except Exception as error:  # whatever it is: without a word of it, orders would wait for a place that never opens
            self.problem = str(error) or type(error).__name__
            self._runner.forget()
        self._decided.set()
        while not self.is_closed and self.problem is None and (left := self._until - time.monotonic()) > 0:
            time.sleep(min(left, LOOK_SECONDS))
        if self.is_closed:
            self._runner.stop(0)
        elif self.problem is None:
            log.warning("nothing was heard of the engine for too long; its steps end here")
            self.close()

    def _begin(self, orders: Sequence[Order]) -> list[_Ending]:
        fresh: list[StepCall] = []
        with self._book:
            endings = [self._ending(order, fresh) for order in orders]
        if fresh:
            self._runner.submit(fresh)
        return endings

    def _ending(self, order: Order, fresh: list[StepCall]) -> _Ending:
        if (running := self._calls.get(order.number)) is not None:
            return self._endings[running]  # the cluster sent it a second time
        call = self._outlines.call(order)
        ending = _Ending(call)
        if order.number in self._cancelled or self.is_closed or not self.is_open:
            ending.result = CANCELLED if order.number in self._cancelled else RELEASED, "null"
            ending.there.set()
        else:
            self._endings[call], self._calls[order.number] = ending, call
            fresh.append(call)
        return ending

    def _deliver(self, outcomes: list[Outcome]) -> None:
        for call, kind, payload in outcomes:
            with self._book:
                ending = self._endings.pop(call)
                self._calls.pop(call.claim, None)
            ending.result = kind, payload
            ending.there.set()

    def _look_up(self, call: StepCall, names: list[str]) -> dict[str, str]:
        return self._ask(call.claim, names)

    def _hear(self, call: StepCall, said: Said) -> None:
        self._tell(call.claim, said)


def later(clock: tuple[float, float], moment: float) -> float:
    """Our `moment` by the clock of another machine, which showed clock[0] at some time before ours showed clock[1]: never later than it is there."""
    theirs, ours = clock
    return moment if math.isinf(moment) else theirs + (moment - ours)
