"""`engine.client`: the rows and the errors of this engine, from a server that is somewhere else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from flask import Flask

from engine import queries, steps, tasks
from engine.client import Client, NotAllowed, ServerUnavailable
from engine.db import Database
from engine.errors import ChangedSince, KeyReused, NotFound, RequestError, WrongState
from engine.requests import TaskRequest
from webapp.server import Server, bind

PATIENCE = 10.0


@pytest.fixture
def remote(app: Flask, definition_id: int, token: str) -> Iterator[Client]:
    """A client of the real server."""
    running = Server(app, "127.0.0.1", bind("127.0.0.1", 0))
    thread = threading.Thread(target=running.run)
    thread.start()
    with Client(running.url, token) as client:
        yield client
    running.stop()
    thread.join(PATIENCE)


def order(number: int = 7, **fields: Any) -> TaskRequest:
    return TaskRequest("process_order", "shop", context={"order_id": number}, **fields)


def test_a_submitted_task_is_the_one_that_is_asked_for(remote: Client, db: Database) -> None:
    task_id = remote.submit(order(tags=("a", "b"), idempotency_key="k"))
    assert queries.task_row(db, task_id).tags == ("a", "b")
    assert remote.submit(order(tags=("a", "b"), idempotency_key="k")) == task_id
    with pytest.raises(KeyReused):
        remote.submit(order(8, idempotency_key="k"))
    assert len(set(remote.submit_many([order(1), order(2)]))) == 2


def test_batches_views_and_limits_are_reached(remote: Client, db: Database) -> None:
    task_id = remote.submit(order(tags=("night",)))
    chosen = {"tag": "night"}
    count = remote.preview_batch("cancellation", filter=chosen)["count"]
    with pytest.raises(ChangedSince):
        remote.begin_batch("cancellation", filter=chosen, count=count + 1)
    begun = remote.begin_batch("cancellation", filter=chosen, count=count, reason="a wrong price")
    assert remote.batch(begun["batch_id"])["items"][0]["task_id"] == task_id
    assert remote.stop_batch(begun["batch_id"])["stopped_by"]
    assert [one["left_count"] for one in remote.batches()] == [1]
    kept = remote.keep_view("Night", chosen, namespace="shop")
    assert [one["count"] for one in remote.views()] == [1]
    assert remote.set_alert(kept["view_id"], 5, email="ops@shop.example")["alert"]["threshold"] == 5
    assert remote.remove_alert(kept["view_id"])["alert"] is None
    remote.remove_view(kept["view_id"])
    assert remote.views() == []
    db.value("insert into tasker_limit (namespace, name, step_name, key_path, at_once, declared) values ('shop', 'process_order', 'none', '{}', 1, '{\"at_once\": 1}') returning 1")
    assert remote.set_limit("shop", "process_order", "none", at_once=4, dry_run=True)["dry_run"]
    assert remote.set_limit("shop", "process_order", "none", at_once=4, reason="a look")["at_once"] == remote.limit("shop", "process_order", "none")["at_once"] == 4
    assert [remote.reset_limit("shop", "process_order", "none")["changed_by"], len(remote.limits("shop"))] == [None, 1]


def test_what_it_shows_is_what_the_engine_shows(remote: Client, db: Database, failed_task: str) -> None:
    here, there = queries.task(db, failed_task), remote.task(failed_task)
    assert there.task == here.task
    assert [(step.name, step.state, step.parents, step.started_at, step.waiting_for) for step in there.steps] == [
        (step.name, step.state, step.parents, step.started_at, step.waiting_for) for step in here.steps
    ]
    assert remote.outcome(failed_task) == queries.outcome(db, failed_task)
    assert remote.tasks(state="failed") == queries.tasks(db, state="failed")
    assert remote.step(failed_task, "charge").attempts[0].state == "failed"
    assert remote.lines(failed_task).items == ()
    assert [one.name for one in remote.engines()] == ["test engine"]
    assert [one.name for one in remote.workflows()] == ["process_order"]
    assert remote.definition("shop", "process_order")["version"] == "1.0.0"
    assert remote.schedules() == []


def test_it_acts_as_the_engine_acts(remote: Client, db: Database, failed_task: str) -> None:
    seen = remote.preview("skip", failed_task, "charge")
    assert seen == steps.preview(db, "skip", failed_task, "charge")
    tag = remote.tag(failed_task)
    assert remote.resolve_step(failed_task, "charge", result={"id": 1}, reason="by hand", seen=None) == "resolved"
    with pytest.raises(ChangedSince):
        remote.act("cancel", failed_task, if_match=tag)
    with pytest.raises(WrongState):
        remote.retry_step(failed_task, "charge")
    assert [remote.pause_task(failed_task), remote.resume_task(failed_task), remote.cancel_task(failed_task)] == ["running", "running", "cancelled"]


def test_events_are_followed_from_a_cursor(remote: Client, failed_task: str) -> None:
    cursor: str | None = None
    found: list[dict[str, Any]] = []
    for _ in range(100):
        events, cursor = remote.events(cursor, limit=2)
        found += events
        if found and found[-1]["type"] == "task.failed":
            break
    assert [event["type"] for event in found][-1] == "task.failed"


def test_errors_are_those_of_the_engine(remote: Client, db: Database) -> None:
    with pytest.raises(RequestError) as refused:
        remote.submit(order(0))
    with pytest.raises(RequestError) as here:
        tasks.submit(db, order(0))
    assert [(one.code, one.message) for one in refused.value.problems] == [(one.code, one.message) for one in here.value.problems]
    for missing in ("00000000-0000-0000-0000-000000000000", "nonsense", "..", "a/b", "?"):
        with pytest.raises(NotFound):
            remote.task(missing)
    with pytest.raises(NotFound):
        remote.submit(TaskRequest("nope", "shop"))


def answering(answer: Callable[[httpx.Request], httpx.Response]) -> Client:
    """A client of a server that answers just so."""
    return Client("http://server.test", "secret", transport=httpx.MockTransport(answer))


def test_a_server_that_is_away_or_busy_is_one_error() -> None:
    with Client("http://127.0.0.1:9", timeout=2) as nobody, pytest.raises(ServerUnavailable, match="cannot reach"):
        nobody.tasks()
    with pytest.raises(ServerUnavailable) as busy:
        answering(lambda _: httpx.Response(429, headers={"Retry-After": "7"}, text="slow down")).tasks()
    assert busy.value.retry_after == 7.0


def test_nothing_that_is_asked_for_goes_to_another_address() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.host == "server.test", "a stranger was asked"
        elsewhere = f"https://{request.url.host}{request.url.path}" if request.url.path.endswith("/tasks") else "http://login.test/"
        return httpx.Response(301 if request.method == "POST" else 307, headers={"Location": elsewhere})

    with pytest.raises(ServerUnavailable, match=r"leads elsewhere, to https://server.test/api/v1/tasks: give the address"):
        answering(answer).submit(order())
    with pytest.raises(ServerUnavailable, match="leads elsewhere, to http://login.test/"):
        answering(answer).batches()


def test_where_the_server_itself_leads_on_the_same_is_asked_there() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if "/db/" not in request.url.path:
            return httpx.Response(307, headers={"Location": f"/db/east{request.url.path}"})
        assert (request.method, request.headers["Authorization"]) == ("POST", "Bearer secret")
        assert b'"order_id"' in request.content
        return httpx.Response(201, json={"task_id": "there"})

    assert answering(answer).submit(order()) == "there"
    with pytest.raises(ServerUnavailable, match="leads elsewhere"):
        answering(lambda request: httpx.Response(307, headers={"Location": request.url.path})).submit(order())   # in a circle


@pytest.mark.parametrize("text", ["<html>Sign in</html>", "", "[1]"])
def test_what_is_not_the_api_is_told_as_such(text: str) -> None:
    with pytest.raises(ServerUnavailable, match="not with the API of Tasker"):
        answering(lambda _: httpx.Response(200, text=text)).tasks()


def test_a_token_is_sent_and_its_refusal_told() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == "Bearer secret"
        return httpx.Response(401, json={"errors": [{"path": "", "code": "unauthorized", "message": "the token has expired"}]})

    with pytest.raises(NotAllowed, match="the token has expired"):
        answering(answer).tasks()


def test_an_address_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(RequestError, match="no address of a server"):
        Client("http://[::1").tasks()


def test_it_asks_for_analytics(remote: Client, failed_task: str) -> None:
    assert remote.performance(period="hour", namespace="shop")["tasks"]["ended_count"] == 0
    assert remote.bottlenecks(namespace="shop", name="process_order")["critical_path"] is None
    with pytest.raises(NotFound):
        remote.performance(namespace="nowhere")


def test_it_searches(remote: Client, failed_task: str) -> None:
    found = remote.search("7", limit=5)
    assert [one["task_id"] for one in found["tasks"]] == [failed_task]
    assert [one["name"] for one in remote.search("process_order")["workflows"]] == ["process_order"]
    with pytest.raises(RequestError):
        remote.search("7", tasks_before="nonsense")
