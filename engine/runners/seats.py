"""The workers of a cluster as one engine sees them: which may be given orders, and until when each may still run what it was given.

Pure bookkeeping, guarded by the lock of the runner that owns it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from engine.errors import TaskerError
from engine.runners.dask_cluster import Member, need_encryption, version_problem
from engine.runners.dask_worker import Answer
from engine.runners.place import later

MARGIN_SECONDS: Final = 1.0  # between the end of a place's time and our trust that its processes are gone
TROUBLE_SECONDS: Final = 30.0


class Seat:
    """One life of one worker. `held` counts the orders it has; `told_until` is when its place ends unless we are heard again; `lacks` are keys of workflows."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.address = member.address
        self.held = 0
        self.life = ""
        self.told_until = -math.inf
        self.is_ready = False
        self.is_gone = self.is_dead = False
        self.clock: tuple[float, float] | None = None
        self.process = ""
        self.heard = True
        self.silence = ""
        self.lacks: set[str] = set()
        self._trouble = ""
        self._troubled_at = -math.inf

    def trouble(self, text: str) -> None:
        """Something went wrong there, which is shown for a while."""
        self._trouble, self._troubled_at = text, time.monotonic()

    def told_trouble(self) -> str:
        """What goes wrong, or went wrong lately, or nothing."""
        lately = self._trouble if time.monotonic() - self._troubled_at < TROUBLE_SECONDS else ""
        return f"worker {self.address}: {self.silence or lately}" if self.silence or lately else ""

    def has(self, needs: Mapping[str, float], key: str) -> bool:
        """Whether it offers what a step needs, at all, and is not known to lack its workflow."""
        return key not in self.lacks and all(self.member.resources.get(name, 0) >= amount for name, amount in needs.items())

    def is_lost(self, now: float) -> bool:
        """Whether its orders will never be heard of."""
        return self.is_dead or now > self.told_until + MARGIN_SECONDS

    def is_over(self, now: float) -> bool:
        """Whether nothing that was begun there can run any more."""
        return self.is_lost(now) or (self.is_ready and not self.is_gone)


class Seats:
    """All of them; `contact` is how many seconds a place lasts after we were heard."""

    def __init__(self, contact: float) -> None:
        self._contact = contact
        self._seats: dict[str, Seat] = {}
        self._former: list[Seat] = []

    @property
    def addresses(self) -> list[str]:
        """Of those that are there."""
        return list(self._seats)

    @property
    def ready_count(self) -> int:
        """How many take orders."""
        return sum(seat.is_ready for seat in self._seats.values())

    @property
    def is_opening(self) -> bool:
        """Whether one of them will soon take orders."""
        return any(not seat.is_ready and seat.heard and not seat.told_trouble() for seat in self._seats.values())

    @property
    def threads(self) -> int:
        """How many orders they run at a time, together."""
        return sum(seat.member.threads for seat in self._seats.values() if seat.is_ready)

    def trouble(self) -> str:
        """What is wrong with one of them, or that there are none."""
        if not self._seats:
            return "the cluster has no worker"
        return next((text for seat in self._seats.values() if (text := seat.told_trouble())), "")

    def offers(self, need: str) -> bool:
        """Whether one of them has any of that."""
        return any(seat.member.resources.get(need) for seat in self._seats.values())

    def know_handlers(self, key: str) -> bool:
        """Whether one of them may have handlers of that workflow."""
        return not self._seats or any(key not in seat.lacks for seat in self._seats.values())

    def best(self, needs: Mapping[str, float], key: str, ahead: int) -> Seat | None:
        """The one with the most room for a step of that workflow that needs that; None when all are full."""
        fit = [seat for seat in self._seats.values() if seat.is_ready and seat.held < seat.member.threads * ahead and seat.has(needs, key)]
        return min(fit, key=lambda seat: seat.held / seat.member.threads, default=None)

    def know(self, members: Iterable[Member]) -> None:
        """These are there now; who is not has left."""
        there = {member.address: member for member in members}
        for address in [address for address in self._seats if address not in there]:
            self._leave(address)
        for address, member in there.items():
            if address in self._seats:
                self._seats[address].member = member
            else:
                self._seats[address] = Seat(member)
                self._bury_predecessors(member)

    def retire(self, seat: Seat) -> None:
        """Nothing more is given to this life of the worker, and its time is not moved on."""
        if self._seats.get(seat.address) is seat:
            self._leave(seat.address)

    def leave_all(self) -> None:
        """None is heard of any more."""
        for address in list(self._seats):
            self._leave(address)

    def times(self, may_start_until: float) -> dict[str, tuple[float | None, float]]:
        """For the next beat to each, by its own clock: until when its place lasts, and until when it may begin an order."""
        now = time.monotonic()
        return {address: self._times(seat, now, may_start_until) for address, seat in self._seats.items()}

    def learn(self, answers: Mapping[str, Answer | BaseException]) -> None:
        """What they said to it."""
        now = time.monotonic()
        for address, answer in answers.items():
            if (seat := self._seats.get(address)) is not None:
                self._hear(seat, answer, now)

    def forget(self, now: float, in_use: Collection[int]) -> None:
        """Former ones of which nothing is to be decided any more are dropped."""
        self._former = [seat for seat in self._former if id(seat) in in_use]

    def _times(self, seat: Seat, now: float, may_start_until: float) -> tuple[float | None, float]:
        if seat.clock is None:
            return None, 0.0
        if seat.heard:  # else what we told it last stays, or it would never be over
            seat.told_until = now + self._contact
        seat.heard = False
        return later(seat.clock, seat.told_until), later(seat.clock, may_start_until)

    def _hear(self, seat: Seat, answer: Answer | BaseException, now: float) -> None:
        if isinstance(answer, BaseException):
            seat.is_ready = False
            lacks = isinstance(answer, ModuleNotFoundError)
            seat.silence = f"{answer}; install tasker-engine[dask] there too" if lacks else f"it does not answer ({str(answer) or type(answer).__name__})"
            return
        if seat.process and answer.process != seat.process or seat.life and answer.life != seat.life:
            seat = self._another_life(seat, is_dead=answer.process != seat.process)
        seat.heard, seat.life, seat.process, seat.silence = True, answer.life, answer.process, ""
        is_first, seat.clock = seat.clock is None, (answer.clock, now)
        problem = _problem(seat, answer)
        if problem:
            seat.trouble(problem)
        seat.is_ready = answer.is_open and not problem and not is_first

    def _another_life(self, seat: Seat, *, is_dead: bool) -> Seat:
        seat.is_gone, seat.is_ready, seat.is_dead = True, False, is_dead
        self._former.append(seat)
        new = self._seats[seat.address] = Seat(seat.member)
        return new

    def _leave(self, address: str) -> None:
        seat = self._seats.pop(address)
        seat.is_gone, seat.is_ready = True, False
        self._former.append(seat)

    def _bury_predecessors(self, member: Member) -> None:
        """A nanny starts a worker only when the one before it has ended."""
        for seat in self._former:
            if member.nanny and seat.member.nanny == member.nanny:
                seat.is_dead = True


def _problem(seat: Seat, answer: Answer) -> str | None:
    try:
        need_encryption(seat.address)
    except TaskerError as error:
        return str(error)
    return version_problem("it", answer.versions) or answer.problem
