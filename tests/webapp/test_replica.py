"""Pages read from a real standby: what it may show, to whom, and what happens when it lags, lies or is gone."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient
from signed_in import token_for, token_of

from engine import embedded, migrate, tasks
from engine.cli import tasker as commands
from engine.db import Database
from engine.definition import TaskDefinition
from engine.requests import TaskRequest
from engine.settings import Settings
from engine.testing.server import OPTIONS, roomy_folder
from engine.testing.standbys import StreamingCopy
from webapp import create_app, database, health, live, replica
from webapp.replica import READS, Replica
from webapp.routes import ROUTES

pytestmark = pytest.mark.timeout(180)


@dataclass
class Pair:
    """A primary with a migrated database, and its standby."""

    url: str
    copy: StreamingCopy

    @property
    def replica_url(self) -> str:
        return self.copy.url(self.url)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    folder = Path(tempfile.mkdtemp(prefix="tasker-replica-", dir=roomy_folder()))
    folder.chmod(0o711)
    server = embedded.ensure_server(folder, options=OPTIONS)
    migrate.upgrade(server.url)
    copy = StreamingCopy(server, folder, OPTIONS)
    copy.wait_until_followed()
    yield Pair(server.url, copy)
    copy.end()
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database_url(pair: Pair) -> str:
    return pair.url


def made(url: str, read_url: str, **config: Any) -> Flask:
    app = create_app(Settings(secret_key="a key for tests", read_database_url=read_url), database_url=url)
    app.config.update(TESTING=True, GLANCE_SECONDS=0, HEALTH_SECONDS=0, **config)
    return app


def closed(app: Flask) -> None:
    live.close(app)
    health.close(app)
    replica.close(app)
    database.close(app)


@pytest.fixture
def app(pair: Pair) -> Iterator[Flask]:
    app = made(pair.url, pair.replica_url)
    yield app
    closed(app)


@pytest.fixture
def follower(app: Flask) -> Replica:
    with app.app_context():
        found = replica.replica_of(app)
    assert found
    return found


@pytest.fixture
def caught_up(pair: Pair, follower: Replica) -> Callable[[], None]:
    """The replica has everything, and the application knows."""

    def catch_up() -> None:
        pair.copy.tell("select pg_wal_replay_resume()")
        pair.copy.wait_until_followed()
        assert follower.look().state == "ok"

    return catch_up


@pytest.fixture
def task_id(db: Database, order_workflow: Callable[[str], TaskDefinition]) -> str:
    tasks.register_definition(db, order_workflow("1.0.0"))
    return tasks.submit(db, TaskRequest("process_order", "shop", context={"order_id": 7}))


def reads(app: Flask, client: FlaskClient, path: str, **options: Any) -> int:
    """How many statements the request put to the replica."""
    counted = 0
    original = Database.connection

    def count(self: Database) -> Any:
        nonlocal counted
        counted += self is app.extensions["tasker_replica"].db
        return original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "connection", count)
        assert client.get(path, **options).status_code in (200, 303), path
    return counted


ADDRESS = {"task_id": None, "namespace": "shop", "name": "process_order", "version": "1.0.0", "step_name": "validate"}
QUERY = {"workflows.diff": "?from=1.0.0&to=1.0.0", "comparing.choose": "?with=", "search.index": "?q=order", "api_search.index": "?q=order", "analytics.bottlenecks": "?kind=slow"}


def test_every_view_that_only_shows_can_be_made_from_a_standby(app: Flask, client: FlaskClient, follower: Replica, task_id: str, caught_up: Callable[[], None], pair: Pair) -> None:
    """Forbids a read that writes, locks or takes a number, which a standby refuses."""
    assert set(ROUTES) >= READS
    token = {"Authorization": f"Bearer {token_for(pair.url)}"}
    client.get("/tasks")
    caught_up()
    seen = set()
    for rule in app.url_map.iter_rules():
        names = rule.arguments
        if rule.endpoint not in READS or not names <= set(ADDRESS):
            continue
        with app.test_request_context():
            path = app.url_for(rule.endpoint, **{name: ADDRESS[name] or task_id for name in names})
        answer = client.get(path + QUERY.get(rule.endpoint, ""), headers=token if path.startswith("/api/") else {})
        assert answer.status_code < 500, (path, answer.text)
        assert follower.failure_count == 0, path
        seen.add(rule.endpoint)
    assert len(seen) > 35


def test_a_page_reads_the_replica_and_who_has_just_done_something_the_primary_until_it_is_there(
    app: Flask, client: FlaskClient, follower: Replica, pair: Pair, task_id: str, caught_up: Callable[[], None], db: Database
) -> None:
    client.get("/tasks")
    caught_up()
    assert reads(app, client, "/") > 0
    other = app.test_client()
    other.get("/")
    caught_up()
    pair.copy.tell("select pg_wal_replay_pause()")
    token = token_of(client.get(f"/tasks/{task_id}").text)
    assert client.post(f"/tasks/{task_id}/cancellation", data={"csrf_token": token, "reason": "not wanted"}).status_code == 303
    late = tasks.submit(db, TaskRequest("process_order", "shop", context={"order_id": 8}))
    follower.look()
    assert "Cancelled" in client.get(f"/tasks/{task_id}").text
    assert "not wanted" in client.get(f"/tasks/{task_id}").text
    with app.app_context():
        app.extensions["tasker_written"].clear()
    assert "not wanted" in client.get(f"/tasks/{task_id}").text, "another process knows it by the browser"
    stranger = app.test_client()
    stranger.get("/health/live")
    secret = token_for(pair.url, "stranger")
    shown = stranger.get(f"/api/v1/tasks/{task_id}", headers={"Authorization": f"Bearer {secret}"})
    assert shown.json["state"] != "cancelled"  # type: ignore[index]
    assert stranger.get(f"/api/v1/tasks/{late}", headers={"Authorization": f"Bearer {secret}"}).status_code == 200, "what the replica lacks is looked for on the primary"
    assert follower.failure_count == 0
    caught_up()
    assert reads(app, client, f"/tasks/{task_id}") > 0
    assert "not wanted" in client.get(f"/tasks/{task_id}").text


def test_live_pages_are_told_when_the_replica_has_the_change(app: Flask, follower: Replica, pair: Pair, task_id: str, caught_up: Callable[[], None], db: Database) -> None:
    """Forbids: a page that is told before the replica has it, shows what was, and is told no more."""
    caught_up()
    with app.app_context():
        feed = live.feed_of(app)
    stream = feed.open(None)
    assert stream
    assert feed.listening.wait(30)
    told = feed.times_told
    pair.copy.tell("select pg_wal_replay_pause()")
    tasks.cancel_task(db, task_id, actor="tests", reason="late")
    time.sleep(3 * live.REPLICA_LOOK_SECONDS)
    assert feed.times_told == told
    pair.copy.tell("select pg_wal_replay_resume()")
    until(lambda: feed.times_told > told)


def test_a_replica_that_lags_lies_or_is_gone_is_not_read_and_that_is_said(
    pair: Pair, task_id: str, db: Database, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.db.POOL_TIMEOUT_SECONDS", 0.5)
    pair.copy.wait_until_followed()
    pair.copy.tell("select pg_wal_replay_pause()")
    tasks.submit(db, TaskRequest("process_order", "shop", context={"order_id": 9}))
    pair.copy.flushed_position()
    gone = pair.replica_url.replace(f":{pair.copy.port}/", ":1/")
    expected = {
        pair.replica_url: ("behind", "s behind, more than"),
        gone: ("unreachable", "does not answer"),
        pair.url: ("wrong", "follows no other"),
        empty_database_url: ("wrong", "no tables of Tasker"),
        "postgresql://[nonsense": ("unreachable", "does not answer"),
    }
    for url, (state, words) in expected.items():
        app = made(pair.url, url, REPLICA_LAG_SECONDS=0.0)
        client = app.test_client()
        with app.app_context():
            follower = replica.replica_of(app)
        assert follower
        seen = follower.look()
        assert (seen.state, words in seen.said) == (state, True), seen
        assert task_id in client.get("/tasks").text
        page = client.get("/engines").text
        assert "Pages are read from the primary" in page
        assert words in page
        checked = client.get("/health/ready").json["checks"]["replica"]  # type: ignore[index]
        assert checked["status"] == state
        closed(app)
    pair.copy.tell("select pg_wal_replay_resume()")
    pair.copy.wait_until_followed()
    for url, (_, words) in {gone: expected[gone], pair.replica_url: ("ok", "s behind")}.items():
        monkeypatch.setenv("TASKER_DATABASE_URL", pair.url)
        monkeypatch.setenv("TASKER_READ_DATABASE_URL", url)
        assert words in CliRunner().invoke(commands, ["doctor"]).output


def test_a_replica_that_dies_under_a_page_costs_its_reader_nothing(app: Flask, client: FlaskClient, follower: Replica, pair: Pair, task_id: str, caught_up: Callable[[], None]) -> None:
    """The last one of this file: the standby is gone afterwards."""
    client.get("/tasks")
    follower._closed.set()  # nobody looks any more, so that the page is what finds out
    caught_up()
    pair.copy.end()
    for path in ("/", "/tasks", f"/tasks/{task_id}"):
        assert client.get(path).status_code == 200
    assert follower.failure_count == 1
    assert follower.standing().state == "unreachable"


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)
