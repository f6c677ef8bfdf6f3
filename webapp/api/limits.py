"""What keeps one caller from crowding out the others, and all of them from burying the engines: a bucket of requests each, and a longest backlog.

`TASKER_API_RATE` is how many requests a second each caller may send to this process for long (0: any number), and `TASKER_API_BACKLOG` at how many
waiting steps no more tasks are taken (0: never).
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, LiteralString

from flask import Flask, current_app

from engine.db import Database
from webapp.api import access
from webapp.api.errors import Refused

RATE = 200.0
BACKLOG = 250_000
BURST_SECONDS = 5.0
CALLERS = 10_000
LOOK_SECONDS = 1.0
RETRY_AFTER_SECONDS = 5.0


def init_app(app: Flask, environ: Mapping[str, str] = os.environ) -> None:
    """The limits of this process, from its environment."""
    app.config.setdefault("API_RATE", number(environ, "TASKER_API_RATE", RATE))
    app.config.setdefault("API_BACKLOG", int(number(environ, "TASKER_API_BACKLOG", BACKLOG)))
    app.extensions["tasker_api_buckets"] = Buckets()
    app.extensions["tasker_api_backlog"] = Backlog()
    # for webapp.access, which comes before this and asks it before it looks at rights: a denial is an entry of the audit
    app.extensions["tasker_api_turnstile"] = refuse_hasty_caller


def number(environ: Mapping[str, str], name: str, otherwise: float) -> float:
    """The number in a variable. Raises `ValueError` for one that is no number of 0 or more."""
    text = environ.get(name, "").strip() or str(otherwise)
    found = float(text) if text.replace(".", "", 1).isdigit() else -1.0
    if found < 0:
        raise ValueError(f"{name} must be a number of 0 or more, not {text!r}")
    return found


class Buckets:
    """How many requests each caller has left: a bucket fills at the rate, and holds what comes in BURST_SECONDS."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = Lock()

    def take(self, caller: str, rate: float) -> float:
        """Take one request out; 0, or after how many seconds there is one again."""
        with self._lock:
            now, most = self._clock(), max(1.0, rate * BURST_SECONDS)
            left, at = self._left.pop(caller, (most, now))
            left = min(most, left + (now - at) * rate)
            taken = left >= 1
            self._left[caller] = (left - 1 if taken else left, now)
            if len(self._left) > CALLERS:
                self._left.popitem(last=False)
            return 0.0 if taken else (1 - left) / rate


class Backlog:
    """Whether more steps wait than the limit; asked of the database once in LOOK_SECONDS."""

    def __init__(self) -> None:
        self._looked_at = float("-inf")
        self._is_over = False

    def is_over(self, db: Database, limit: int) -> bool:
        """Whether there are more than `limit` ready steps."""
        if time.monotonic() - self._looked_at >= LOOK_SECONDS:
            query: LiteralString = "select exists (select from tasker_ready r where r.definition_id > 0 offset %(limit)s limit 1)"
            self._looked_at, self._is_over = time.monotonic(), bool(db.value(query, {"limit": limit}))
        return self._is_over


def refuse_hasty_caller() -> None:
    """Raises `Refused` with 429 for a caller that has used up its requests."""
    rate: float = current_app.config["API_RATE"]
    wait = _of_app("tasker_api_buckets").take(access.caller(), rate) if rate else 0.0
    if wait:
        raise Refused(429, "too_many_requests", f"more than {rate:g} requests a second for {BURST_SECONDS:g} seconds", retry_after=wait)


def refuse_when_buried(db: Database) -> None:
    """Raises `Refused` with 503 while more steps wait than the backlog may hold."""
    limit: int = current_app.config["API_BACKLOG"]
    if limit and _of_app("tasker_api_backlog").is_over(db, limit):
        words = f"more than {limit:,} steps wait already; nothing was created"
        raise Refused(503, "backlog", words, retry_after=RETRY_AFTER_SECONDS)


def _of_app(name: str) -> Any:
    return current_app.extensions[name]
