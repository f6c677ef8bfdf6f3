"""What many readers look at together is found once: an answer serves all who may see the same for a second, unless something was changed here since.

It is also found anew when live pages were told of a change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from functools import wraps
from threading import Lock
from typing import Any, Generic, ParamSpec, TypeVar

from flask import Flask, Response, current_app, request

from engine.db import seconds_left
from engine.errors import DatabaseUnavailable, TaskerError
from webapp.access import known_caller
from webapp.database import CALL_SECONDS, reads_replica
from webapp.live import times_told

SECONDS = 1.0
WAIT_SECONDS = 2 * CALL_SECONDS

P = ParamSpec("P")
T = TypeVar("T")


class Glance(Generic[T]):
    """The last answer to one question, found by one reader while the others wait for it."""

    def __init__(self) -> None:
        self._finding = Lock()
        self._found_at = float("-inf")
        self._age: object = None
        self._answer: T | TaskerError | None = None

    def answer(self, find: Callable[[], T], age: object, seconds: float) -> T:
        """What `find` gave not longer than `seconds` ago and in the same `age` of the data, or gives now. A failure serves as long as an answer."""
        if not self._finding.acquire(timeout=seconds_left(WAIT_SECONDS)):
            raise DatabaseUnavailable("the database does not answer")
        try:
            if age != self._age or time.monotonic() - self._found_at >= seconds:
                begun, answer = time.monotonic(), _outcome(find)
                if isinstance(answer, TaskerError) and not seconds_left(1):
                    raise answer  # its own time was up; who comes next has time
                self._found_at, self._age, self._answer = begun, age, answer
            found = self._answer
        finally:
            self._finding.release()
        if isinstance(found, TaskerError):
            raise found
        return found  # type: ignore[return-value]


def _outcome(find: Callable[[], T]) -> T | TaskerError:
    try:
        return find()
    except TaskerError as error:
        return error


def init_app(app: Flask) -> None:
    """Give the application its place for answers; whatever is sent to it makes them old."""
    app.config.setdefault("GLANCE_SECONDS", SECONDS)
    app.extensions["tasker_glances"] = {}
    app.extensions["tasker_usuals"] = {}
    app.extensions["tasker_acts"] = 0
    app.after_request(_note_act)


def _note_act(response: Response) -> Response:
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        current_app.extensions["tasker_acts"] += 1
    return response


def shared(find: Callable[P, T]) -> Callable[P, T]:
    """The same function, whose answer readers with the same rights share for a moment. Its arguments tell one question from another."""

    @wraps(find)
    def look(*args: P.args, **kwargs: P.kwargs) -> T:
        glances: dict[Hashable, Glance[Any]] = current_app.extensions["tasker_glances"]
        question = (find.__module__, find.__name__, known_caller().rights.key, reads_replica(), args, tuple(sorted(kwargs.items())))
        glance: Glance[T] = glances.setdefault(question, Glance())
        age = (current_app.extensions["tasker_acts"], times_told(current_app))
        return glance.answer(lambda: find(*args, **kwargs), age, current_app.config["GLANCE_SECONDS"])

    return look
