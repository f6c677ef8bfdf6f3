"""Calls on lines that went bad: each ends by its own deadline, says so in one line, and the next one succeeds when the line is good again."""

from __future__ import annotations

import ast
import logging
import math
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from arena import until
from flask import Flask
from flask.testing import FlaskClient
from pooler import TransactionPooler
from proxy import Link, Proxy
from signed_in import Reader

from engine import TaskRequest, Workflow, leases, migrate, scheduler, tasks
from engine.db import CALL_SECONDS, Database, OutageLog, connect, keeps_session
from engine.errors import DatabaseUnavailable
from engine.registry import HandlerRegistry
from engine.runners.threads import ThreadsRunner
from engine.worker import FLUSHERS, KEPT_RESULT_BYTES, Worker
from webapp import create_app

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 0.5
REFUSED_SECONDS = 2.0
NOTICED_SECONDS = 15.0
"""By when a listener knows that its line is dead."""
MARGIN = 1.5
"""What a busy machine may add."""


@contextmanager
def ending_within(seconds: float) -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds + MARGIN


# ---- a line on which nothing moves


def test_a_call_on_a_stalled_line_ends_by_its_deadline(proxy: Proxy, proxied_url: str) -> None:
    connection = connect(proxied_url, call_seconds=LIMIT)
    with proxy.behaving("stall"), ending_within(LIMIT), pytest.raises(psycopg.OperationalError, match=r"no answer within 0\.5 s"):
        connection.execute("select 1")
    assert connection.closed


def test_a_commit_on_a_stalled_line_ends_by_its_deadline(proxy: Proxy, proxied_url: str) -> None:
    connection = connect(proxied_url, call_seconds=LIMIT, autocommit=False)
    connection.execute("select 1")
    with proxy.behaving("stall"), ending_within(LIMIT), pytest.raises(psycopg.OperationalError, match="no answer"):
        connection.commit()


def test_a_reply_that_only_trickles_in_ends_by_the_deadline_too(proxy: Proxy, proxied_url: str) -> None:
    connection = connect(proxied_url, call_seconds=LIMIT)
    with proxy.behaving("delay"), ending_within(LIMIT), pytest.raises(psycopg.OperationalError, match="no answer"):
        connection.execute("select n from generate_series(1, 1000) n")


def test_connecting_over_a_stalled_line_ends_by_its_deadline(proxy: Proxy, proxied_url: str) -> None:
    with proxy.behaving("stall"), ending_within(2), pytest.raises(DatabaseUnavailable, match="timeout"):
        connect(proxied_url, connect_seconds=2)


def test_a_pooled_connection_that_stalled_while_it_lay_idle_delays_its_next_user_a_little_and_is_replaced(proxy: Proxy, proxied_url: str) -> None:
    database = Database(proxied_url, call_seconds=LIMIT)
    assert database.value("select 1") == 1
    with proxy.behaving("stall"), ending_within(LIMIT + 4), pytest.raises(DatabaseUnavailable):
        database.value("select 1")
    proxy.tear()
    assert database.value("select 1") == 1
    database.close()


def test_a_pooled_connection_that_has_just_answered_is_replaced_when_it_was_closed_since(proxy: Proxy, proxied_url: str) -> None:
    database = Database(proxied_url, call_seconds=LIMIT)
    for _ in range(20):
        assert database.value("select 1") == 1
        proxy.tear()
    database.close()


def test_the_first_call_after_a_restart_is_answered_however_many_connections_it_ended(proxy: Proxy, proxied_url: str) -> None:
    database = Database(proxied_url, max_size=8)
    callers = [threading.Thread(target=database.value, args=("select pg_sleep(0.3)",)) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    proxy.tear()
    assert database.value("select 1") == 1
    database.close()


@pytest.fixture(autouse=True)
def _signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Flask, "test_client_class", Reader)


def test_the_dashboards_lists_say_in_time_that_the_database_does_not_answer(proxy: Proxy, proxied_url: str) -> None:
    app = create_app(database_url=proxied_url)
    client = app.test_client()
    assert client.get("/tasks").status_code == 200
    with proxy.behaving("stall"), ending_within(5):
        answer = client.get("/tasks")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]


def test_the_dashboard_tells_of_an_outage_once_in_ten_seconds_and_of_its_end_once(proxy: Proxy, proxied_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Forbids: a line for each page and each probe that is asked for meanwhile."""
    caplog.set_level(logging.INFO, "tasker.web")
    client = create_app(database_url=proxied_url).test_client()
    assert client.get("/tasks").status_code == 200
    began = time.monotonic()
    with proxy.refusing():
        answers = [client.get(path).status_code for path in ("/tasks", "/", "/health/ready", "/health/ready")]
        assert (client.get("/health/live").status_code, client.get("/api/v1/tasks").status_code) == (200, 401)
        assert FlaskClient(client.application).get("/").status_code == 303, "who is not signed in is led to the way in, and knows nothing of the database"
    assert set(answers) == {503}
    assert client.get("/tasks").status_code == 200
    told = [record.getMessage() for record in caplog.records if record.name == "tasker.web" and record.levelno >= logging.INFO]
    assert 2 <= len(told) <= 2 + (time.monotonic() - began) // 10, told
    assert all(words.startswith("the dashboard has no database and tries again: cannot reach PostgreSQL") for words in told[:-1])
    assert told[-1].startswith("the database answers again")


def test_a_list_is_unavailable_and_not_broken_when_every_connection_dies_at_its_first_word(
    proxy: Proxy, proxied_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.db.ASK_AGAIN_SECONDS", 0.0)
    app = create_app(database_url=proxied_url)
    client = app.test_client()
    assert client.get("/tasks").status_code == 200
    snare = proxy.set_snare("^$|rollback", "before", times=100)
    answers = [client.get("/tasks") for _ in range(2)]
    assert snare.caught
    assert {answer.status_code for answer in answers} == {503}
    proxy.release(snare)
    assert client.get("/tasks").status_code == 200


def test_a_line_that_dies_after_the_last_answer_spoils_no_page(proxy: Proxy, proxied_url: str) -> None:
    client = create_app(database_url=proxied_url).test_client()
    assert client.get("/tasks").status_code == 200
    ended: list[Link] = []

    def end(link: Link) -> None:
        """Not torn: a reset throws away what has arrived and is not read yet, the very answer."""
        link.client.shutdown(socket.SHUT_WR)
        ended.append(link)

    snare = proxy.set_snare("from tasker_task|FROM tasker_task", "after", end, times=100)
    for _ in range(3):
        assert client.get("/tasks").status_code == 200
        until(lambda: len(ended) == snare.caught, "the end of the line to arrive")
    assert snare.caught >= 3


def test_a_snare_waits_for_the_answer_of_its_own_statement(proxy: Proxy, proxied_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forbids: to take the end of the call before for it, where the next one is asked while the proxy still looks at that."""
    delivered = Link._delivered

    def late(link: Link, kind: bytes, source: socket.socket) -> None:
        time.sleep(0.1 if kind == b"Z" else 0)
        delivered(link, kind, source)

    monkeypatch.setattr(Link, "_delivered", late)
    with connect(proxied_url, call_seconds=LIMIT) as connection:
        snare = proxy.set_snare("42", "after", lambda link: link.client.shutdown(socket.SHUT_WR))
        connection.execute("select 41")
        assert connection.execute("select 42").fetchone() == (42,)
        assert snare.sprung.wait(LIMIT)


def test_the_state_of_the_schema_is_asked_for_with_a_deadline(proxy: Proxy, proxied_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "CALL_SECONDS", LIMIT)
    proxy.set_snare("tasker_schema_version", "before", lambda link: proxy.stall(link))
    with ending_within(LIMIT), pytest.raises(DatabaseUnavailable, match="no answer"):
        migrate.status(proxied_url)


def test_a_call_of_an_engine_ends_early_enough_to_be_made_again_within_the_lease() -> None:
    assert leases.call_seconds(timedelta(seconds=3)) == 1
    assert leases.call_seconds(timedelta(seconds=30)) == leases.call_seconds(timedelta(hours=1)) == CALL_SECONDS < 10


def test_every_connection_is_made_where_the_deadline_is() -> None:
    """A call of psycopg.connect anywhere else would make one without a deadline."""
    elsewhere = [
        f"{file.relative_to(ROOT)}:{call.lineno}"
        for folder in ("engine", "webapp", "migrations")
        for file in (ROOT / folder).rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func) in ("psycopg.connect", "psycopg.Connection.connect", "Connection.connect")
    ]
    assert elsewhere == []


def test_an_engine_that_is_refused_asks_again_at_a_bounded_rate(
    proxy: Proxy, proxied_url: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forbids: the bell that woke a flusher is still ringing when its call fails, so that it never waits before it connects again."""
    monkeypatch.setattr(HandlerRegistry, "_instance", HandlerRegistry())
    flow = Workflow("flow", namespace="refused")
    flow.define("work")
    number = tasks.register_definition(db, flow.definition)
    engine = Worker(proxied_url, ThreadsRunner(1), {number: flow.definition}, name="refused", runner_name="threads", concurrency=1)
    engine.start()
    until(lambda: len(engine._idle) == FLUSHERS, "the flushers to rest")
    with proxy.behaving("reset"):
        asked = proxy.accepted
        engine.wake()
        engine.wake()
        time.sleep(REFUSED_SECONDS)
        asked = proxy.accepted - asked
    engine.drain(0)
    assert 1 <= asked <= FLUSHERS * (REFUSED_SECONDS + 6)


def test_a_report_that_the_server_carries_out_after_its_line_is_gone_strands_no_step(
    proxy: Proxy, proxied_url: str, db: Database, conn: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forbids: the engine looks what it holds before that report is through, and the step that it hands over is run by nobody."""
    monkeypatch.setattr(HandlerRegistry, "_instance", HandlerRegistry())
    flow = Workflow("flow", namespace="late")
    running, go_on = threading.Event(), threading.Event()

    @flow.step()
    def first() -> None:
        running.set()
        assert go_on.wait(10)

    @flow.step(depends_on_step="first")
    def second() -> None: ...

    monkeypatch.setattr(leases, "call_seconds", lambda lease: 1.5)
    number = tasks.register_definition(db, flow.definition)
    task = tasks.submit(db, TaskRequest("flow", "late"))
    engine = Worker(proxied_url, ThreadsRunner(1), {number: flow.definition}, name="late", runner_name="threads", concurrency=1)
    engine.start()
    engine.wake()
    assert running.wait(10)
    with conn.transaction():
        conn.execute("select from tasker_step where task_no = (select task_no from tasker_task where task_id = %s) and step_no = 1 for update", [task])
        snare = proxy.set_snare(r"\btasker_complete_", "within")
        go_on.set()
        assert snare.sprung.wait(10)
        until(lambda: engine._look_again_at < math.inf and not engine._unsure, "the engine to look for the first time")

    def ended() -> bool:
        engine.wake()
        time.sleep(0.05)
        return db.value("select state from tasker_task where task_id = %(task)s", {"task": task}) == 4

    until(ended, "the task to end")
    engine.drain(0)


def test_a_handler_that_asks_for_a_result_waits_for_a_database_that_is_away(
    proxy: Proxy, proxied_url: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forbids: an attempt that is charged for an outage, and all that it has done so far done again."""
    monkeypatch.setattr(HandlerRegistry, "_instance", HandlerRegistry())
    flow = Workflow("flow", namespace="asking")
    asking = threading.Event()

    @flow.step()
    def first() -> str:
        return "x" * (2 * KEPT_RESULT_BYTES)

    @flow.step(depends_on_step="first")
    def second() -> None: ...

    @flow.step(depends_on_step="second", retry_limit=2)
    def third(sequence: Any) -> int:
        asking.set()
        return len(sequence.result("first"))

    number = tasks.register_definition(db, flow.definition)
    engine = Worker(proxied_url, ThreadsRunner(1), {number: flow.definition}, name="asking", runner_name="threads", concurrency=1)
    engine.start()
    with proxy.behaving("reset", "tasker look-up"):
        task = tasks.submit(db, TaskRequest("flow", "asking"))
        engine.wake()
        assert asking.wait(10)
        refused = proxy.accepted
        until(lambda: proxy.accepted > refused + 2, "it to ask again")
    until(lambda: db.value("select state from tasker_task where task_id = %(task)s", {"task": task}) == 4, "the task to end")
    engine.drain(0)
    attempts, result = db.rows("select attempts, result from tasker_steps where task_id = %(task)s and name = 'third'", {"task": task})[0]
    assert (attempts, result) == (1, 2 * KEPT_RESULT_BYTES)


def test_a_listener_on_a_dead_line_finds_out_by_itself_and_hears_again(
    proxy: Proxy, proxied_url: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is ever said on a half-open line, so that who only listens would listen for ever. It asks, and is soon tired of waiting for the answer."""
    assert scheduler.LISTEN_SECONDS + CALL_SECONDS < NOTICED_SECONDS
    monkeypatch.setattr(scheduler, "LISTEN_SECONDS", 0.1)
    monkeypatch.setattr(scheduler, "connect", partial(connect, call_seconds=LIMIT))
    heard = Heard()
    engine = scheduler.Engine(proxied_url, HandlerRegistry())
    engine.worker = heard  # type: ignore[assignment]
    engine._listener.start()
    until(lambda: heard.times["wake"] == 1, "the listener to begin")
    proxy.set_snare("select 1$", "before", proxy.stall)
    until(lambda: heard.times["wake"] == 2, "the listener to begin anew")
    claims = heard.times["claim"]
    db.value("select pg_notify('tasker_ready', '')")
    until(lambda: heard.times["claim"] > claims, "it to hear")
    engine.stop()
    engine._listener.join()


class Heard:
    """Counts what the listener asks a worker to do."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: self.times.update([name])


# ---- servers that cannot be used


def test_a_pool_leaves_a_server_that_has_become_read_only(database_url: str, conn: psycopg.Connection[Any]) -> None:
    database = Database(database_url, max_size=1)
    conn.execute("create table note (n int)")
    with database.connection() as connection:
        first = connection.info.backend_pid
        connection.execute("set default_transaction_read_only = on")
    with pytest.raises(DatabaseUnavailable, match="read-only"):
        database.rows("insert into note values (1) returning n")
    assert database.rows("insert into note values (2) returning n") == [(2,)]
    assert database.value("select pg_backend_pid()") != first
    database.close()


@pytest.fixture
def pooled_url(database_url: str) -> Iterator[str]:
    """The test's database behind a pooler that gives each transaction the next free session."""
    pooler = TransactionPooler(database_url)
    yield pooler.url
    pooler.close()


def test_a_pooler_in_transaction_mode_is_noticed(pooled_url: str, database_url: str) -> None:
    with connect(database_url) as straight, connect(pooled_url) as pooled:
        assert keeps_session(straight)
        assert not keeps_session(pooled)


def test_an_engine_behind_a_pooler_in_transaction_mode_works_and_says_what_that_costs_and_what_to_set(
    pooled_url: str, db: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Forbids: a statement that was prepared in one session of the pooler and is not known in the next."""
    flow = given_flow(db, monkeypatch)
    number = tasks.register_definition(db, flow.definition)
    engine = Worker(pooled_url, ThreadsRunner(1), {number: flow.definition}, name="pooled", runner_name="threads", concurrency=1)
    engine.start()
    said = " ".join(record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)
    assert "pooler in transaction mode" in said
    assert "TASKER_DATABASE_URL" in said
    for _ in range(8):
        task = tasks.submit(db, TaskRequest(flow.name, flow.namespace))
        engine.wake()
        until(lambda task=task: db.value("select state from tasker_task where task_id = %(task)s", {"task": task}) == 4, "the task to end")
    engine.drain(0)
    assert not [record for record in caplog.records if record.exc_info]


def test_a_pool_behind_a_pooler_in_transaction_mode_prepares_nothing(pooled_url: str) -> None:
    database = Database(pooled_url, max_size=1)
    assert {database.value("select 7") for _ in range(12)} == {7}
    database.close()


def test_an_engine_leaves_a_server_that_has_become_read_only_and_goes_on_at_its_successor(
    proxy: Proxy, proxied_url: str, db: Database, conn: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session stays open and answers, so that nothing but the refused write tells."""
    flow = given_flow(db, monkeypatch)
    number = tasks.register_definition(db, flow.definition)
    engine = Worker(proxied_url, ThreadsRunner(1), {number: flow.definition}, name="moved", runner_name="threads", concurrency=1)
    engine.start()
    until(lambda: len(engine._idle) == FLUSHERS, "the flushers to rest")
    opened = proxy.accepted
    for place in engine._idle:
        assert place.connection is not None
        place.connection.execute("set default_transaction_read_only = on")
    task = tasks.submit(db, TaskRequest(flow.name, flow.namespace))
    engine.wake()
    until(lambda: db.value("select state from tasker_task where task_id = %(task)s", {"task": task}) == 4, "the task to end")
    assert proxy.accepted > opened
    engine.drain(0)


def test_a_pooler_that_refuses_session_settings_is_named_in_one_line_with_the_remedy(database_url: str) -> None:
    pooler = TransactionPooler(database_url, refusing="options")
    try:
        with pytest.raises(DatabaseUnavailable) as refused:
            connect(pooler.url)
    finally:
        pooler.close()
    assert "connection pooler" in str(refused.value)
    assert "session mode" in str(refused.value)
    assert "\n" not in str(refused.value)


def fill_disk(conn: psycopg.Connection[Any], table: str) -> None:
    """What is to be written to the table is refused as on a full disk."""
    conn.execute("create function full_disk() returns trigger language plpgsql as $$ begin raise 'No space left on device' using errcode = '53100'; end $$")
    conn.execute(f"create trigger full_disk before insert or update on {table} execute function full_disk()".encode())


def make_room(conn: psycopg.Connection[Any]) -> None:
    conn.execute("drop function full_disk() cascade")


def test_a_dashboard_whose_database_has_no_room_says_so_and_when_to_ask_again(database_url: str, db: Database, conn: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Forbids: an answer as if the fault were ours, with nothing said of its cause."""
    flow = given_flow(db, monkeypatch)
    app = create_app(database_url=database_url)
    app.config["WTF_CSRF_ENABLED"] = False
    client = app.test_client()
    fill_disk(conn, "tasker_task")
    refused = client.post(f"/workflows/{flow.namespace}/{flow.name}/{flow.version}/launch", data={"context": "{}"})
    assert refused.status_code == 503
    assert refused.headers["Retry-After"]
    assert "No space left on device; make room on its disk, then all goes on by itself" in refused.get_data(as_text=True)
    make_room(conn)
    assert client.post(f"/workflows/{flow.namespace}/{flow.name}/{flow.version}/launch", data={"context": "{}"}).status_code == 303


def test_an_engine_whose_database_has_no_room_says_so_once_and_reports_when_there_is_some(
    database_url: str, db: Database, conn: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Forbids: a traceback for each of many attempts, and a connection that is given up although it is sound."""
    flow = given_flow(db, monkeypatch)
    task = tasks.submit(db, TaskRequest(flow.name, flow.namespace))
    fill_disk(conn, "tasker_step")
    number = tasks.register_definition(db, flow.definition)
    engine = Worker(database_url, ThreadsRunner(1), {number: flow.definition}, name="full", runner_name="threads", concurrency=1)
    engine.start()
    until(lambda: any("No space left" in record.getMessage() for record in caplog.records), "the engine to say so")
    time.sleep(1)
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [(record.levelname, record.exc_info) for record in told] == [("WARNING", None)], told
    assert "make room on its disk" in told[0].getMessage()
    make_room(conn)
    until(lambda: db.value("select state from tasker_task where task_id = %(task)s", {"task": task}) == 4, "the task to end")
    engine.drain(0)


def given_flow(db: Database, monkeypatch: pytest.MonkeyPatch) -> Workflow:
    monkeypatch.setattr(HandlerRegistry, "_instance", HandlerRegistry())
    flow = Workflow("flow", namespace="refused", version="1.0.0")
    flow.define("work")
    tasks.register_definition(db, flow.definition)
    return flow


# ---- what is said


def test_an_outage_is_told_once_in_ten_seconds_and_its_end_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    outage = OutageLog(logging.getLogger("tasker.test"), "the engine has no database")
    caplog.set_level(logging.INFO)
    for _ in range(25):
        outage.met(OSError("refused\nand more"))
        now += 1
    outage.over()
    outage.over()
    told = [record.getMessage() for record in caplog.records]
    assert told == ["the engine has no database and tries again: refused"] * 3 + ["the database answers again, after 25.0 s"]


def test_outages_shortly_after_another_are_told_by_the_same_measure(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    outage = OutageLog(logging.getLogger("tasker.test"), "the engine has no database")
    caplog.set_level(logging.WARNING)
    for _ in range(25):
        outage.met(OSError("reset"))
        outage.over()
        now += 1
    assert len(caplog.records) == 3


