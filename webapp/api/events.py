"""`/events`: what happened, a page at a time from any point on, or as a stream that goes on from the last event its reader had.

A stream is told by the feed of the live pages that something changed, and reads for itself; between two messages it holds no database connection.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from threading import Lock
from typing import Any

from flask import Flask, Response, current_app, request

from engine import events
from engine.db import Database
from engine.errors import DatabaseUnavailable, Problem, RequestError
from webapp.api import access, shapes
from webapp.api.answers import EventPageSchema
from webapp.api.blueprint import Endpoints
from webapp.api.bodies import EventsQuery
from webapp.api.errors import Refused
from webapp.database import database
from webapp.live import AccountHasEnough, Feed, NoPlace, Stream, feed_of, reader_of_this_request
from webapp.task_filter import MAX_TASK_NO

READ = "tasker.event:index"
LOOK_SECONDS = 2.0
WINDOW = 50
WINDOWS = 100
"""How many moves are looked at in one round trip, and in how many a request looks for events that it was asked for."""
HORIZON_LOOKS = 5
HORIZON_SECONDS = 0.1
"""How often and after how long it is looked again for events that transactions under way hold back for a moment."""
REFRESH = "event: refresh\ndata: {}\n\n"
STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

endpoints = Endpoints("events", "What happened, in order")


def init_app(app: Flask) -> None:
    """Give the application the horizon that all streams share."""
    app.extensions["tasker_api_horizon"] = SharedHorizon()


class SharedHorizon:
    """How far it is safe to read, found once for all streams of this process."""

    def __init__(self) -> None:
        self._horizon, self._lock = events.Horizon(), Lock()

    def look(self, db: Database) -> tuple[int, bool]:
        """The event up to which nothing is missing, and whether there may soon be more."""
        with self._lock:
            return self._horizon.look(db), self._horizon.is_held


class Following:
    """The events that one caller asked for and may see, from a cursor on."""

    def __init__(self, db: Database, horizon: SharedHorizon, asked: dict[str, Any], within: frozenset[str] | None) -> None:
        self._db, self._horizon, self._within = db, horizon, within
        self._types, self._namespace = _types(asked["type"]), asked["namespace"]
        self.cursor: int = asked["cursor"]

    def read(self, limit: int) -> list[events.Event]:
        """The next events, at most `limit`, and none when there are none for now; the cursor is behind them."""
        for _ in range(HORIZON_LOOKS):
            until, is_held = self._horizon.look(self._db)
            found = self._read_until(until, limit)
            if found or not is_held:
                return found
            time.sleep(HORIZON_SECONDS)
        return []

    def _read_until(self, until: int, limit: int) -> list[events.Event]:
        for _ in range(WINDOWS):
            found, reached = events.read_events(self._db, self.cursor, max(limit, WINDOW), self._types, self._namespace, until=until)
            seen = [one for one in found if self._within is None or one["namespace"] in self._within]
            self.cursor = seen[limit - 1]["event_id"] if len(seen) > limit else reached
            if seen or self.cursor >= until:
                return seen[:limit]
        return []


@endpoints.route("/events")
@endpoints.arguments(EventsQuery, location="query")
@endpoints.response(200, EventPageSchema)
@endpoints.alt_response(200, schema={"type": "string"}, content_type="text/event-stream", success=True)
@endpoints.may_answer(422)
def index(asked: dict[str, Any]) -> Response:
    """Read the events from a cursor on, or follow them

    A page of JSON; its `next_cursor` leads on, also to events that are still to come. With `Accept: text/event-stream` a stream of server-sent events
    whose data is `{"event_id", "type", "task_id", "namespace"}`; it goes on behind the header Last-Event-ID.
    """
    within = access.allowed_namespaces(READ)
    if "text/event-stream" in request.accept_mimetypes.values():
        return _stream(asked, within)
    if asked["cursor"] is None:
        asked["cursor"] = events.before_oldest_event(database())
    following = Following(database(), _horizon(), asked, within)
    found = following.read(asked["limit"])
    told = [one | {"error": shapes.error(one["error"])} for one in found]
    return shapes.respond({"events": told, "next_cursor": str(following.cursor)})


def _stream(asked: dict[str, Any], within: frozenset[str] | None) -> Response:
    is_lost = _resume(asked)
    following = Following(database(), _horizon(), asked, within)
    feed, config = feed_of(current_app._get_current_object()), current_app.config  # type: ignore[attr-defined]
    opened = _open(feed, config["LIVE_STREAMS_PER_ACCOUNT"])
    response = Response(_messages(opened, following, config, REFRESH if is_lost else ""), mimetype="text/event-stream", headers=STREAM_HEADERS)
    response.call_on_close(lambda: feed.leave(opened))
    return response


def _open(feed: Feed, each: int) -> Stream:
    try:
        return feed.open(None, reader=reader_of_this_request(READ))
    except AccountHasEnough:
        raise Refused(429, "too_many_streams", f"at most {each} streams of one account at once, live pages among them", retry_after=LOOK_SECONDS) from None
    except NoPlace:
        raise Refused(503, "unavailable", "this server carries no more streams; read pages instead", retry_after=LOOK_SECONDS) from None


def _resume(asked: dict[str, Any]) -> bool:
    """Set where the stream begins: behind Last-Event-ID, at the cursor, or now. True when the header names no event, so that the reader has to look anew."""
    last = request.headers.get("Last-Event-ID")
    if last is not None and last.isascii() and last.isdigit() and len(last) < 20 and int(last) <= MAX_TASK_NO:
        asked["cursor"] = int(last)
        return False
    if asked["cursor"] is None or last is not None:
        asked["cursor"] = events.newest_event(database())
    return last is not None


def _messages(opened: Stream, following: Following, config: Any, first: str) -> Iterator[str]:
    """The text of the stream: events as they come, and a comment whenever there were none for long.

    One read at a time, however far behind its reader is: between two of them the stream looks whether it is to end.
    """
    said_at = time.monotonic()
    if first:
        yield first
    for told in opened.messages(LOOK_SECONDS, config["LIVE_STREAM_SECONDS"]):
        text = told if told.startswith("retry") else _piece(opened, following)
        if not text and time.monotonic() - said_at > config["LIVE_HEARTBEAT_SECONDS"]:
            text = ": still here\n\n"
        if text:
            said_at = time.monotonic()
            yield text


def _piece(opened: Stream, following: Following) -> str:
    """The next events as text, and a stream that looks for more of them; nothing while the database is away, as the stream goes on where it was."""
    try:
        found = following.read(WINDOW)
    except DatabaseUnavailable:
        return ""
    if found:
        opened.tell(None)
    return "".join(map(_message, found))


def _message(event: events.Event) -> str:
    data = {name: event[name] for name in ("event_id", "type", "task_id", "namespace")}
    return f"id: {event['event_id']}\ndata: {json.dumps(data)}\n\n"


def _types(listed: str | None) -> list[str] | None:
    if listed is None:
        return None
    wanted = [one.strip() for one in listed.split(",")]
    found = [Problem("type", "bad_type", problem) for one in wanted if (problem := events.type_problem(one))]
    if found:
        raise RequestError(found)
    return wanted


def _horizon() -> SharedHorizon:
    shared: SharedHorizon = current_app.extensions["tasker_api_horizon"]
    return shared
