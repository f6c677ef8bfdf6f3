"""Who comes to the dashboard while it is maltreated: somebody every quarter of a second, who does not wait for those that came before. The arena sends them."""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from http.client import HTTPException
from itertools import count
from typing import TYPE_CHECKING, Any

from engine.db import CHECK_SECONDS
from webapp.database import CALL_SECONDS

if TYPE_CHECKING:
    from arena import Arena

EVERY_SECONDS = 0.25
SLOWEST_SECONDS = CALL_SECONDS + 1.0
"""Of a page: it has so long for all that it asks."""
SLOWEST_CREATION_SECONDS = CHECK_SECONDS + CALL_SECONDS + 1.0
"""A pooled line that turns out dead, and a call that is given up."""
LAST_SECONDS = 15
"""Who has waited for so long goes."""
ANSWERED = (200, 201)
CREATE = "/api/v1/tasks"


@dataclass(frozen=True, slots=True)
class Probe:
    """One request to the dashboard and what came of it; `outage` says whether the database may have been away."""

    path: str
    status: int
    seconds: float
    retry_after: bool
    text: str
    outage: bool

    @property
    def is_late(self) -> bool:
        return self.seconds > _slowest(self.path)

    def problem(self) -> str | None:
        if self.is_late:
            return f"{self.path} took {self.seconds:.1f} s"
        if "Traceback" in self.text:
            return f"{self.path} shows a traceback"
        if self.status in ANSWERED or self.status == 503 and self.retry_after and self.outage:
            return None
        return f"{self.path} answered {self.status}{' during' if self.outage else ' without'} an outage: {_words(self.text)!r}"


def _slowest(path: str) -> float:
    return SLOWEST_CREATION_SECONDS if path.startswith("create") else SLOWEST_SECONDS


def _words(text: str) -> str:
    """What a page says, in a line."""
    said = re.sub(r"<[^>]*>", " ", text.rpartition("<main")[2])
    return " ".join(said.split())[:300]


class Visitors:
    """They read pages, look at a task that exists, follow the live updates and create tasks, by turns. `asked` is of everything so far."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.probes: list[Probe] = []
        self.unanswered: set[str] = set()
        self.cookie: dict[str, str] = {}
        self.bearer: dict[str, str] = {}
        self.newest: str | None = None
        self.may_create = threading.Event()
        self._under_way: dict[int, tuple[str, float]] = {}
        self._answered: list[tuple[float, float]] = []
        self._died_of: list[BaseException] = []
        self._book = threading.Lock()
        self._ended = threading.Event()

    def begin(self, cookie: dict[str, str], token: str) -> None:
        """They come from now on, and create what the installation is to do while it is under load."""
        self.cookie, self.bearer = cookie, {"Authorization": f"Bearer {token}"}
        self._begin(self._come)

    def end(self) -> None:
        """Nobody comes any more."""
        self._ended.set()

    def asked(self) -> dict[str, int]:
        """How often, by what was asked."""
        return dict(sorted(Counter(probe.path.partition(" ")[0] for probe in self.probes).items()))

    def under_way(self, began: float, ended: float) -> int:
        """How many requests had no answer yet at some moment between these."""
        spans = [*self._answered, *((asked, float("inf")) for _, asked in list(self._under_way.values()))]
        return sum(asked <= ended and answered >= began for asked, answered in spans)

    def assert_well(self) -> None:
        """Each of them lived to tell what it saw, and all that they asked for is accepted."""
        if self._died_of:
            raise self._died_of[0]
        assert not self.unanswered, f"creations that nobody ever answered: {sorted(self.unanswered)}"

    def waiting(self) -> list[Probe]:
        """Those who have no answer and should have one by now."""
        now = time.monotonic()
        late = [(path, now - began) for path, began in list(self._under_way.values()) if now - began > _slowest(path)]
        return [Probe(f"{path} (and waits on)", 0, seconds, False, "", False) for path, seconds in late]

    def stop_creating(self, patience: float) -> None:
        """Every creation that anybody asked for is accepted: those that had no answer are asked for again with their keys, for so long."""
        with self._book:  # who may still create has its key in the list
            self.may_create.clear()
        deadline = time.monotonic() + patience
        while self.unanswered and time.monotonic() < deadline:
            time.sleep(0.1)
            if not self._creates():
                for key in list(self.unanswered):
                    self._visit(lambda key=key: self._post(key))

    def _creates(self) -> bool:
        return any(path.startswith("create") for path, _ in list(self._under_way.values()))

    # ---- each in a thread of its own

    def _come(self) -> None:
        turns = (self._live, self._ready, self._overview, self._list, self._detail, self._create, self._stream)
        due = time.monotonic()
        for number in count():
            if self._ended.wait(max(0.0, due - time.monotonic())):
                return
            self._begin(self._visit, turns[number % len(turns)])
            due = max(due + EVERY_SECONDS, time.monotonic())

    def _begin(self, act: Callable[..., object], *args: object) -> None:
        def begun() -> None:
            try:
                act(*args)
            except BaseException as error:
                self._died_of.append(error)

        threading.Thread(target=begun, daemon=True).start()

    def _visit(self, turn: Callable[[], Probe]) -> None:
        self.probes.append(turn())

    def _live(self) -> Probe:
        return self._ask("live", "/health/live")

    def _ready(self) -> Probe:
        return self._ask("ready", "/health/ready")

    def _overview(self) -> Probe:
        return self._ask("overview", "/")

    def _list(self) -> Probe:
        return self._ask("list", "/tasks")

    def _detail(self) -> Probe:
        return self._ask("detail", f"/tasks/{self.newest}") if self.newest else self._list()

    def _stream(self) -> Probe:
        """Live updates tell at once that the page may be old."""
        return self._ask("stream", "/live", read=_first_event)

    def _create(self) -> Probe:
        key = self.arena.new_key("tree")
        with self._book:
            if may := self.may_create.is_set():
                self.unanswered.add(key)
        return self._post(key) if may else self._list()

    def _post(self, key: str) -> Probe:
        """What is not certain to have been accepted, and so is in `unanswered`, is asked for again later."""
        wanted = {"name": "tree", "namespace": "faults", "correlation_id": key}
        headers = self.bearer | {"Idempotency-Key": key, "Content-Type": "application/json"}
        probe = self._ask("create", CREATE, headers, json.dumps(wanted).encode())
        if probe.status in ANSWERED:
            self.arena.accepted[key] = self.newest = json.loads(probe.text)["task_id"]
            self.unanswered.discard(key)
        else:
            self.arena.uncertain += 1
        return probe

    def _ask(self, name: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None, read: Callable[[Any], str] | None = None) -> Probe:
        me, began = threading.get_ident(), time.monotonic()
        self._under_way[me] = (f"{name} {path}", began)
        request = urllib.request.Request(self.arena.web_url + path, body, dict(headers or self.cookie))
        try:
            with urllib.request.urlopen(request, timeout=LAST_SECONDS) as answer:
                found = Probe(f"{name} {path}", answer.status, 0.0, False, (read or _whole)(answer), False)
        except urllib.error.HTTPError as error:
            found = Probe(f"{name} {path}", error.code, 0.0, "Retry-After" in error.headers, _as_far_as_it_came(error), False)
        except (OSError, HTTPException, ValueError) as error:
            found = Probe(f"{name} {path}", 0, 0.0, False, str(error), False)
        ended = time.monotonic()
        self._answered.append((began, ended))
        del self._under_way[me]
        return replace(found, seconds=ended - began, outage=self.arena.in_outage(began, ended))


def _whole(answer: Any) -> str:
    return str(answer.read().decode())


def _as_far_as_it_came(answer: Any) -> str:
    with suppress(OSError, HTTPException):
        return _whole(answer)
    return ""


def _first_event(answer: Any) -> str:
    """Raises ValueError where the stream ends without one."""
    if not any(line.startswith(b"event:") for line in answer):
        raise ValueError("the stream ended without an event")
    return ""
