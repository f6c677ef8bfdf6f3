"""Live pages: who is told what, how many may listen, and that a stream holds no database connection."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from queue import Queue
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from signed_in import session_of

from webapp import live
from webapp.access import COOKIE
from webapp.live import AccountHasEnough, Crowd, Feed, NoPlace, Reader, Stream

PATIENCE = 10.0


def first(messages: Iterator[str]) -> list[str]:
    """The two messages every stream begins with."""
    return [next(messages), next(messages)]


def test_a_stream_begins_by_telling_that_the_page_may_be_old() -> None:
    stream = Stream("a")
    retry, changed = first(stream.messages(15, 60))
    assert retry == "retry: 2000\n\n"
    assert changed == 'event: changed\ndata: {"task_id": "a"}\n\n'


def test_a_stream_is_told_of_its_own_task_only() -> None:
    stream = Stream("a")
    messages = stream.messages(0.01, 60)
    first(messages)
    stream.tell({"b"})
    assert next(messages).startswith(":")
    stream.tell({"a", "b"})
    assert next(messages).startswith("event: changed")


def test_a_stream_of_all_tasks_is_told_of_each() -> None:
    stream = Stream(None)
    messages = stream.messages(0.01, 60)
    first(messages)
    stream.tell({"b"})
    assert next(messages).startswith("event: changed")


def test_many_changes_before_the_reader_looks_are_one_message() -> None:
    stream = Stream("a")
    messages = stream.messages(0.01, 60)
    first(messages)
    for _ in range(50):
        stream.tell({"a"})
    assert next(messages).startswith("event: changed")
    assert next(messages).startswith(":")


def test_the_stream_of_a_large_page_pauses_between_messages() -> None:
    stream = Stream("a", pause=60)
    messages = stream.messages(0.01, 60)
    first(messages)
    waiting = threading.Thread(target=lambda: next(messages, None), daemon=True)
    waiting.start()
    stream.tell({"a"})
    waiting.join(0.05)
    assert waiting.is_alive()
    stream.close()
    waiting.join(PATIENCE)
    assert not waiting.is_alive()


def test_a_stream_ends_when_its_time_is_over_or_the_server_stops() -> None:
    assert list(Stream("a").messages(0.01, 0)) == ["retry: 2000\n\n"]
    stream = Stream("a")
    messages = stream.messages(15, 60)
    first(messages)
    stream.close()
    assert list(messages) == []


def test_a_full_server_refuses_a_stream_and_says_when_to_ask_again(app: Flask, client: FlaskClient) -> None:
    app.config["LIVE_STREAM_LIMIT"] = 1
    with client.get("/live") as taken:
        assert taken.mimetype == "text/event-stream"
        refused = app.test_client().get("/live")
        assert refused.status_code == 503
        assert refused.headers["Retry-After"]
        assert "Too many pages are live" in refused.text
        assert "database" not in refused.text.partition("<main")[2], "which is there"


def test_one_account_has_five_streams_and_leaves_the_other_places_to_others(app: Flask, client: FlaskClient) -> None:
    other = FlaskClient(app)
    other.set_cookie(COOKIE, session_of(app.config["DATABASE_URL"], "ada"))
    with ExitStack() as opened:
        for _ in range(5):
            assert opened.enter_context(client.get("/live", buffered=False)).mimetype == "text/event-stream"
        refused = client.get("/live")
        assert refused.status_code == 429
        assert refused.headers["Retry-After"]
        assert "Enough of your pages are live" in refused.text
        assert opened.enter_context(other.get("/live", buffered=False)).mimetype == "text/event-stream"
    with client.get("/live") as again:
        assert again.mimetype == "text/event-stream"


def test_a_stream_that_is_left_twice_gives_one_place_back() -> None:
    feed = resting_feed(limit=2)
    one, _ = feed.open(None), feed.open(None)
    with pytest.raises(NoPlace):
        feed.open(None)
    feed.leave(one)
    feed.leave(one)
    feed.open(None)
    with pytest.raises(NoPlace):
        feed.open(None)


def test_whose_pages_have_gone_has_their_places_again() -> None:
    """The server has not written to them since, so nobody has told that they are gone."""
    feed, is_gone = resting_feed(each=2), threading.Event()
    reader = Reader(account=1, is_gone=is_gone.is_set)
    gone = [feed.open(None, reader=reader) for _ in range(2)]
    with pytest.raises(AccountHasEnough):
        feed.open(None, reader=reader)
    is_gone.set()
    feed.open(None, reader=reader)
    assert [list(each.messages(15, 60)) for each in gone] == [["retry: 2000\n\n"]] * 2


def resting_feed(**limits: int) -> Feed:
    """One that hears no database."""
    feed = Feed("", lambda cursor: (None, {}), Crowd(), **limits)
    feed._begin = lambda: None  # type: ignore[method-assign]
    return feed


def test_a_page_that_leaves_gives_its_place_back(app: Flask, client: FlaskClient) -> None:
    app.config["LIVE_STREAM_LIMIT"] = 1
    for _ in range(3):
        with client.get("/live", buffered=False) as stream:
            assert stream.status_code == 200


def test_a_stream_is_neither_cached_nor_buffered(client: FlaskClient) -> None:
    with client.get("/live") as stream:
        assert stream.headers["Cache-Control"] == "no-cache"
        assert stream.headers["X-Accel-Buffering"] == "no"


@pytest.fixture
def task_id(launch: Callable[..., str]) -> str:
    """A task that is there before anybody listens."""
    return launch()


@pytest.fixture
def heard(app: Flask) -> Iterator[Callable[[str | None], Queue[str]]]:
    """Listens to a stream in a thread of its own and collects its messages, of which the first two are taken; the feed listens already."""
    with app.app_context():
        feed = live.feed_of(app)
    streams = [feed.open(None)]
    assert feed.listening.wait(PATIENCE)

    def listen(task_id: str | None) -> Queue[str]:
        stream = feed.open(task_id)
        assert stream
        streams.append(stream)
        messages: Queue[str] = Queue()
        threading.Thread(target=lambda: [messages.put(text) for text in stream.messages(60, 60)], daemon=True).start()
        assert messages.get(timeout=PATIENCE).startswith("retry")
        assert messages.get(timeout=PATIENCE).startswith("event: changed")
        return messages

    yield listen
    for stream in streams:
        assert stream
        stream.close()
        feed.leave(stream)


def test_a_change_in_the_database_reaches_the_page_of_its_task(
    task_id: str, heard: Callable[[str | None], Queue[str]], engine: Any
) -> None:
    messages = heard(task_id)
    engine.complete(task_id, "validate")
    assert messages.get(timeout=PATIENCE) == f'event: changed\ndata: {{"task_id": "{task_id}"}}\n\n'


def test_any_number_of_streams_shares_one_connection(
    task_id: str, heard: Callable[[str | None], Queue[str]], conn: psycopg.Connection[Any], engine: Any
) -> None:
    all_messages = [heard(None) for _ in range(20)]
    engine.complete(task_id, "validate")
    for messages in all_messages:
        assert messages.get(timeout=PATIENCE).startswith("event: changed")
    listening = conn.execute(
        "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'tasker live'"
    ).fetchone()
    assert listening == (1,)


def test_a_lost_connection_is_made_again(
    heard: Callable[[str | None], Queue[str]], conn: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "RECONNECT_SECONDS", 0.05)
    messages = heard(None)
    conn.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and usename = current_user"
    )
    # Something may have been missed meanwhile, so everybody is told.
    assert messages.get(timeout=PATIENCE).startswith("event: changed")
