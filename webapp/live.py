"""Live pages: one LISTEN connection per process hears that something changed and tells every open stream which tasks did.

A stream holds a thread of the web server but no database connection; at every heartbeat it looks whether its reader may still follow it. A page that gets no stream polls instead.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Condition, Event, Lock, Thread
from typing import Any
from uuid import UUID

import psycopg
from flask import Blueprint, Flask, Response, current_app, request

from engine import queries
from engine.access.permissions import Namespaces
from engine.db import NEWS_CHANNEL, Database, OutageLog, connect
from engine.errors import TaskerError
from webapp.access import allowed_namespaces, known_caller, require_task, still_the_same
from webapp.database import CALL_SECONDS, primary
from webapp.problems import problem
from webapp.replica import Replica, replica_of

STREAM_LIMIT = 200
STREAMS_PER_ACCOUNT = 5  # a browser opens six connections to one server, and needs one to ask for pages
HEARTBEAT_SECONDS = 15.0
STREAM_SECONDS = 15 * 60.0
QUIET_SECONDS = 0.5  # at most two messages a second reach a stream
CALM_SECONDS = 3.0  # for a page of hundreds of steps
LOOK_SECONDS = 2.0  # a lost notification is made good after this long
REPLICA_LOOK_SECONDS = 0.25  # the notification comes from the primary, and the replica may not have it yet
RECONNECT_SECONDS = 2.0
RETRY_AFTER_SECONDS = 10
CLIENT_GONE = "waitress.client_disconnected"  # where the dashboard's own server puts what tells it

log = logging.getLogger(__name__)
blueprint = Blueprint("live", __name__)

Changes = Callable[[Any], tuple[Any, dict[str, str] | None]]
"""What changed since a cursor: the tasks with their namespaces, None for any, and the next cursor."""


class NoPlace(Exception):
    """There are as many streams as this server carries."""


class AccountHasEnough(NoPlace):
    """There are as many streams as one account may have."""


@dataclass(frozen=True)
class Reader:
    """Who follows a stream: of which account, of which namespaces (None for all), and whether they still may and still are there."""

    account: int | None = None
    namespaces: Namespaces = None
    may_follow: Callable[[], bool] = lambda: True
    is_gone: Callable[[], bool] = lambda: False


ANYBODY = Reader()


class Stream:
    """One open page: it waits for one task, or for all of the namespaces that its reader may see."""

    def __init__(self, task_id: str | None, pause: float = 0.0, reader: Reader = ANYBODY) -> None:
        self.task_id, self.pause, self.reader = task_id, pause, reader
        self._stale = Event()
        # The page was rendered before the stream began; whatever changed in between is told at once.
        self._stale.set()
        self._closed = Event()

    def tell(self, changed: dict[str, str] | None) -> None:
        """Mark the page as stale when its task is among the changed; None means that anything may have changed."""
        if changed is None or self._concerns(changed):
            self._stale.set()

    def _concerns(self, changed: dict[str, str]) -> bool:
        if self.task_id is not None:
            return self.task_id in changed
        return self.reader.namespaces is None or not self.reader.namespaces.isdisjoint(changed.values())

    def close(self) -> None:
        """End the stream at once."""
        self._closed.set()
        self._stale.set()

    def messages(self, heartbeat: float, lifetime: float) -> Iterator[str]:
        """The text of the stream until it is closed or its time is over; a comment whenever nothing happened for long."""
        ends_at = time.monotonic() + lifetime
        looked_at = time.monotonic()
        yield "retry: 2000\n\n"
        while not self._closed.is_set() and time.monotonic() < ends_at:
            told = self._stale.wait(min(heartbeat, max(ends_at - time.monotonic(), 0.01)))
            if time.monotonic() - looked_at >= heartbeat:
                looked_at = time.monotonic()
                if not self.reader.may_follow():
                    return
            if self._closed.is_set():
                return
            self._stale.clear()
            yield f"event: changed\ndata: {json.dumps({'task_id': self.task_id})}\n\n" if told else ": still here\n\n"
            self._closed.wait(self.pause if told else 0)


class Crowd:
    """The streams that are open in this process, and whose: each holds a thread of the server, whichever database it is about."""

    def __init__(self) -> None:
        self._streams: set[Stream] = set()
        self._lock = Lock()

    def enter(self, stream: Stream, *, limit: int, each: int) -> None:
        """There is one more. Raises `AccountHasEnough` when there are `each` of its account, and `NoPlace` when there are `limit` in all."""
        with self._lock:
            if not self._has_place(stream.reader.account, limit, each):
                self._let_the_gone_go()
            if self._has_enough(stream.reader.account, each):
                raise AccountHasEnough
            if len(self._streams) >= limit:
                raise NoPlace
            self._streams.add(stream)

    def leave(self, stream: Stream) -> None:
        """It has ended."""
        with self._lock:
            self._streams.discard(stream)

    def _has_place(self, account: int | None, limit: int, each: int) -> bool:
        return len(self._streams) < limit and not self._has_enough(account, each)

    def _has_enough(self, account: int | None, each: int) -> bool:
        return account is not None and sum(stream.reader.account == account for stream in self._streams) >= each

    def _let_the_gone_go(self) -> None:
        """Who turns page after page leaves streams behind that would end only when they are written to next."""
        gone = {stream for stream in self._streams if stream.reader.is_gone()}
        for stream in gone:
            stream.close()
        self._streams -= gone


class Feed:
    """Hears the database for all streams of one application; its thread begins with the first stream and rests without any.

    `crowd` counts them together with those of the applications that share it: `limit` in all, `each` of one account.
    """

    def __init__(self, url: str, changes: Changes, crowd: Crowd, *, limit: int = STREAM_LIMIT, each: int = STREAMS_PER_ACCOUNT, look_seconds: float = LOOK_SECONDS) -> None:
        self._url, self._changes, self._look_seconds = url, changes, look_seconds
        self._crowd, self._limit, self._each = crowd, limit, each
        self._streams: set[Stream] = set()
        self._wanted = Condition()
        self._thread: Thread | None = None
        self._closed = Event()
        self._outage = OutageLog(log, "live updates have no database")
        self.listening = Event()  # set while changes reach the streams
        self.times_told = 0
        self._heard_at: float | None = None

    def silent_seconds(self) -> float | None:
        """How long ago the database was heard, or was to be heard first; None while no stream wants to."""
        with self._wanted:
            return None if self._heard_at is None or not self._streams else time.monotonic() - self._heard_at

    def open(self, task_id: str | None, pause: float = 0.0, reader: Reader = ANYBODY) -> Stream:
        """A new stream with at least `pause` seconds between messages.

        Raises `NoPlace` when there are as many as the server can carry, and `AccountHasEnough` when there are as many as one account may have.
        """
        stream = Stream(task_id, pause, reader)
        with self._wanted:
            if self._closed.is_set():
                raise NoPlace
            self._crowd.enter(stream, limit=self._limit, each=self._each)
            if not self._streams:
                self._heard_at = time.monotonic()
            self._streams.add(stream)
            self._begin()
            self._wanted.notify_all()
        return stream

    def leave(self, stream: Stream) -> None:
        """Forget a stream whose page has gone."""
        with self._wanted:
            self._streams.discard(stream)
        self._crowd.leave(stream)

    def close(self) -> None:
        """End every stream and the thread; a stopping server calls this first."""
        self._closed.set()
        with self._wanted:
            for stream in self._streams:
                stream.close()
            self._wanted.notify_all()

    def count(self) -> int:
        """How many streams are open."""
        with self._wanted:
            return len(self._streams)

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = Thread(target=self._run, name="tasker-live", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._wait_for_streams()
            try:
                self._listen()
            except (psycopg.Error, TaskerError) as error:
                self.listening.clear()
                self._outage.met(error)
                self._closed.wait(RECONNECT_SECONDS)

    def _wait_for_streams(self) -> None:
        with self._wanted:
            self._wanted.wait_for(lambda: self._streams or self._closed.is_set())

    def _listen(self) -> None:
        with connect(self._url, application_name="tasker live", call_seconds=CALL_SECONDS) as conn:
            conn.execute(f"listen {NEWS_CHANNEL}")
            cursor, _ = self._changes(None)
            self._heard_at = time.monotonic()
            self._tell(None)
            self.listening.set()
            self._outage.over()
            while self.count() and not self._closed.is_set():
                for _ in conn.notifies(timeout=self._look_seconds, stop_after=1):
                    pass
                conn.execute("select 1")  # a line that went dead is silent like one on which nothing happens
                cursor, changed = self._changes(cursor)
                self._heard_at = time.monotonic()
                self._tell(changed)
                self._closed.wait(0 if changed == {} else QUIET_SECONDS)
        self.listening.clear()

    def _tell(self, changed: dict[str, str] | None) -> None:
        if changed is not None and not changed:
            return
        self.times_told += 1  # before anybody asks for what changed
        with self._wanted:
            for stream in self._streams:
                stream.tell(changed)


_making = Lock()


def init_app(app: Flask) -> None:
    """Give the application its place for the feed, made with the first stream."""
    app.config.setdefault("LIVE_STREAMS_OFFERED", True)
    app.config.setdefault("LIVE_STREAM_LIMIT", STREAM_LIMIT)
    app.config.setdefault("LIVE_STREAMS_PER_ACCOUNT", STREAMS_PER_ACCOUNT)
    app.config.setdefault("LIVE_HEARTBEAT_SECONDS", HEARTBEAT_SECONDS)
    app.config.setdefault("LIVE_STREAM_SECONDS", STREAM_SECONDS)
    app.extensions["tasker_feed"] = None
    app.extensions["tasker_live_crowd"] = Crowd()


def feed_of(app: Flask) -> Feed:
    """The feed of this process."""
    with _making:
        if app.extensions["tasker_feed"] is None:
            app.extensions["tasker_feed"] = _make_feed(app)
        feed: Feed = app.extensions["tasker_feed"]
    return feed


def feed_if_any(app: Flask) -> Feed | None:
    """The feed of this process, if a page has ever wanted one."""
    feed: Feed | None = app.extensions["tasker_feed"]
    return feed


def _make_feed(app: Flask) -> Feed:
    opened, follower, crowd = primary(), replica_of(app), app.extensions["tasker_live_crowd"]
    limits = {"limit": app.config["LIVE_STREAM_LIMIT"], "each": app.config["LIVE_STREAMS_PER_ACCOUNT"]}
    if follower is None:
        return Feed(opened.url, lambda cursor: queries.changed_tasks(opened, cursor), crowd, **limits)
    return Feed(opened.url, _changes_of(follower, opened), crowd, **limits, look_seconds=REPLICA_LOOK_SECONDS)


def _changes_of(follower: Replica, opened: Database) -> Changes:
    """What changed where pages are read: told earlier, they would show what was before, and be told no more."""

    def changes(cursor: tuple[Database, str] | None) -> tuple[tuple[Database, str], dict[str, str] | None]:
        source = follower.db if follower.standing().is_usable else opened
        before, seen = cursor or (source, None)
        newest, changed = queries.changed_tasks(source, seen if before is source else None)
        return (source, newest), changed if before is source else None

    return changes


def times_told(app: Flask) -> int:
    """How often live pages were told of changes: what was found before the last time may be old."""
    feed: Feed | None = app.extensions["tasker_feed"]
    return feed.times_told if feed else 0


def close(app: Flask) -> None:
    """End all streams; the server does so when it stops."""
    if app.extensions["tasker_feed"] is not None:
        app.extensions["tasker_feed"].close()


@blueprint.get("/live")
def live() -> Response:
    """A stream of `changed` events for `?task=<id>`, or for every task; `&calm=1` is for pages that are dear to make."""
    task_id = request.args.get("task", type=UUID)
    if task_id:
        require_task("tasker.task:show", str(task_id))
    feed = feed_of(current_app._get_current_object())  # type: ignore[attr-defined]
    pause = CALM_SECONDS if request.args.get("calm") else 0.0
    try:
        stream = feed.open(str(task_id) if task_id else None, pause, reader_of_this_request("tasker.event:index"))
    except NoPlace as refused:
        return _refuse(refused)
    config = current_app.config
    response = Response(
        stream.messages(config["LIVE_HEARTBEAT_SECONDS"], config["LIVE_STREAM_SECONDS"]), mimetype="text/event-stream"
    )
    response.call_on_close(lambda: feed.leave(stream))
    response.headers.update({"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
    return response


def reader_of_this_request(permission: str) -> Reader:
    """Who asks, and what of they may see by that permission."""
    is_gone = request.environ.get(CLIENT_GONE, ANYBODY.is_gone)
    return Reader(known_caller().account_id, allowed_namespaces(permission), still_the_same(), is_gone)


def _refuse(refused: NoPlace) -> Response:
    if isinstance(refused, AccountHasEnough):
        detail = f"Of one account {current_app.config['LIVE_STREAMS_PER_ACCOUNT']} pages are live at once; this one asks every few seconds instead."
        answer = problem(429, detail, title="Enough of your pages are live")
    else:
        answer = problem(503, "There are as many as this server carries; this one asks every few seconds instead.", title="Too many pages are live")
    answer.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return answer
