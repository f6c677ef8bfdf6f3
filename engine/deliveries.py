"""Orders that wait in the database for a worker of a message broker: what an engine posts and takes, and what such a worker does with a token.

Each function calls the SQL function of the same name. `engine.runners.celery` is the engine's side of it, `engine.celery_worker` the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from importlib import metadata
from typing import Any, LiteralString, NamedTuple

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from engine.db import Database, connect
from engine.errors import DatabaseUnavailable, RetryableError
from engine.journal import Line, Progress, Said

ENDED_CHANNEL = "tasker_delivered"
PLACE_SECONDS = 10.0


class Ended(NamedTuple):
    """What came of an order: kind and payload of its outcome, or a kind of None when `place`, which had begun it, is not heard of any more."""

    number: int
    kind: int | None
    payload: str | None
    place: str | None


@dataclass(frozen=True, slots=True)
class Begun:
    """What a token stood for, for the one place that may do it. Times in seconds."""

    sender: str
    number: int
    key: str
    step_no: int
    template_no: int
    timeout: float | None
    attempt: int
    retry_limit: int
    task_id: str
    context_json: str
    correlation_id: str | None
    traceparent: str | None
    item: tuple[int, int, str] | None


class Seen(NamedTuple):
    """A process that takes deliveries: how many at a time, and its version of tasker-engine."""

    place: str
    concurrency: int
    version: str


class Beat(NamedTuple):
    """A delivery that may go on, for so many seconds."""

    token: str
    seconds: float
    cancel_requested: bool


class Posts:
    """The engine's side, for one `sender`. Raises `DatabaseUnavailable` from every call."""

    def __init__(self, url: str, sender: str, *, call_seconds: float) -> None:
        self._url, self._sender = url, sender
        self._db = Database(url, max_size=3, application_name="tasker deliveries", call_seconds=call_seconds)

    def post(self, orders: Sequence[tuple[int, int, int, int]]) -> dict[int, str]:
        """A token for each (number, task_no, step_no, attempt) that its engine still holds."""
        numbers, tasks, steps, attempts = map(list, zip(*orders, strict=True))
        found = self._db.rows(
            "select number, token::text from tasker_post_deliveries(%(sender)s, %(numbers)s::bigint[], %(tasks)s::bigint[], %(steps)s::int[], %(attempts)s::smallint[])",
            {"sender": self._sender, "numbers": numbers, "tasks": tasks, "steps": steps, "attempts": attempts},
        )
        return dict(found)

    def take(self, told: Sequence[int]) -> tuple[list[Ended], list[tuple[int, float, bool, list[Any]]]]:
        """What has ended, but for what was `told`, which is forgotten; and what handlers said before: (number, seconds ago, whether a line, fields).

        The end is looked for first, so no word comes after it. What ended is given again until it is among the told: an answer may be lost.
        """
        ended = self._db.rows(
            "select number, kind, payload, place from tasker_take_deliveries(%(sender)s, %(told)s::bigint[])", {"sender": self._sender, "told": list(told)}
        )
        words = self._db.rows("select number, age, is_line, fields from tasker_take_delivery_words(%(sender)s)", {"sender": self._sender})
        return [Ended(*row) for row in ended], [(row[0], row[1], row[2], row[3]) for row in words]

    def withdraw(self, numbers: Sequence[int]) -> set[int]:
        """Those that nobody had begun, and nobody will, however often it is asked."""
        found = self._db.rows(
            "select * from tasker_withdraw_deliveries(%(sender)s, %(numbers)s::bigint[])", {"sender": self._sender, "numbers": list(numbers)}
        )
        return {row[0] for row in found}

    def drop(self) -> None:
        """Nothing is waited for any more."""
        self._db.value("select tasker_drop_deliveries(%(sender)s)", {"sender": self._sender})

    def places(self) -> list[Seen]:
        """Each process that takes deliveries now."""
        query: LiteralString = "select l.place, l.concurrency, l.version from tasker_delivery_place l where l.seen_at > tasker_clock() - %(lately)s order by l.place"
        return [Seen(*row) for row in self._db.rows(query, {"lately": timedelta(seconds=PLACE_SECONDS)})]

    def wait(self, connection: psycopg.Connection[Any] | None, seconds: float) -> psycopg.Connection[Any]:
        """Returns when one of ours has ended, or after so many seconds; with the listening connection, for the next time."""
        if connection is None:
            connection = connect(self._url, application_name="tasker deliveries")
            connection.execute(sql.SQL("listen {}").format(sql.Identifier(ENDED_CHANNEL)))
            return connection
        for notification in connection.notifies(timeout=seconds):
            if notification.payload == self._sender:
                break
        return connection

    def close(self) -> None:
        """The connections are given back."""
        self._db.close()


class Deliveries:
    """A worker's side, for one `place`. Raises `DatabaseUnavailable` from every call."""

    def __init__(self, url: str, place: str, *, contact: float) -> None:
        self._place, self._contact = place, timedelta(seconds=contact)
        self._db = Database(url, max_size=4, application_name="tasker worker", call_seconds=contact / 3)

    def begin(self, token: str) -> Begun | None:
        """What is to be done; None when it was begun before, or nobody waits for it any more."""
        found = self._db.rows(
            """select sender::text, number, key, step_no, template_no, (timeout_ms / 1000.0)::float8, attempt, retry_limit, task_id::text, context, correlation_id,
                      traceparent, map_no, item_no, item
                 from tasker_begin_delivery(%(token)s, %(place)s, %(lease)s)""",
            {"token": token, "place": self._place, "lease": self._contact},
        )
        return _begun(found[0]) if found else None

    def beat(self, concurrency: int, tokens: Sequence[str]) -> list[Beat]:
        """Which of the begun may go on; the others must end at once."""
        found = self._db.rows(
            "select token::text, seconds, cancel_requested from tasker_beat_place(%(place)s, %(concurrency)s, %(tokens)s::uuid[], %(lease)s, %(version)s)",
            {"place": self._place, "concurrency": concurrency, "tokens": list(tokens), "lease": self._contact, "version": metadata.version("tasker-engine")},
        )
        return [Beat(*row) for row in found]

    def end(self, token: str, kind: int, payload: str) -> bool:
        """Its sender will report that; False when nobody waits for it any more."""
        return bool(self._db.value("select tasker_end_delivery(%(token)s, %(kind)s::smallint, %(payload)s)", {"token": token, "kind": kind, "payload": payload}))

    def say(self, words: Sequence[tuple[str, Said, float]]) -> None:
        """What handlers said, each with its token and how many seconds ago."""
        tokens, said, ages = map(list, zip(*words, strict=True))
        self._db.value(
            "select tasker_say_delivery(%(tokens)s::uuid[], %(lines)s::boolean[], %(ages)s::float8[], %(fields)s::jsonb[])",
            {"tokens": tokens, "lines": [isinstance(one, Line) for one in said], "ages": ages, "fields": [Jsonb(list(one[1:])) for one in said]},
        )

    def results(self, token: str, names: Sequence[str]) -> dict[str, str]:
        """Results of earlier steps as JSON text, by name. Raises `RetryableError`, as it is the handler that asks."""
        try:
            found = self._db.rows("select step_name, result from tasker_delivery_results(%(token)s, %(names)s::text[])", {"token": token, "names": list(names)})
        except DatabaseUnavailable as error:
            raise RetryableError(str(error)) from error
        return dict(found)

    def close(self) -> None:
        """The connections are given back."""
        self._db.close()


def heard(word: tuple[int, float, bool, list[Any]], now: float) -> tuple[int, Said]:
    """A word as `Posts.take` gives it, by our clock."""
    number, age, is_line, fields = word
    return number, Line(now - age, *fields) if is_line else Progress(now - age, *fields)


_BEGUN = tuple(field.name for field in fields(Begun))[:-1]


def _begun(row: tuple[Any, ...]) -> Begun:
    item = None if row[12] is None else (row[12], row[13], row[14])
    return Begun(**dict(zip(_BEGUN, row[:12], strict=True)), item=item)
