"""A webhook is delivered as it was signed, and again until somebody takes it. The receiver is a real server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import psycopg
import pytest

from engine import RetryableError, TaskRequest, Workflow, events, tasks
from engine.db import Database
from engine.events import EventDelivery
from engine.registry import HandlerRegistry
from engine.webhooks import SIGNATURE, WebhookRefused, WebhookSubscriber, is_authentic, signature

SECRET = "not for everyone"
EVENT = {"event_id": 42, "type": "task.completed", "task_id": "5d1c", "context": {"name": "Zoë"}}


@dataclass
class Receiver:
    """What arrived, and what is answered: (status, headers, body) in turn, then 204."""

    url: str = ""
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    silent_seconds: float = 0.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A server of its own for the test."""
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            made.received.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            time.sleep(made.silent_seconds)
            status, headers, body = made.answers.pop(0) if made.answers else (204, {}, b"")
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a sender that hangs up early is part of the test
    made.url = f"http://127.0.0.1:{server.server_port}/hooks?token=hidden"
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def hook(registry: HandlerRegistry, receiver: Receiver) -> WebhookSubscriber:
    """A subscriber that posts to the receiver."""

    class Hook(WebhookSubscriber):
        subscribe_to = ["task.completed"]
        url = receiver.url
        secret = SECRET
        headers = {"X-Team": "orders"}

    return Hook()


def test_the_receiver_gets_the_event_with_its_id_type_and_signature(hook: WebhookSubscriber, receiver: Receiver) -> None:
    hook.handle_event(EVENT)
    [(headers, body)] = receiver.received
    assert json.loads(body) == EVENT
    assert headers["Content-Type"] == "application/json"
    assert (headers["Tasker-Event-Id"], headers["Tasker-Event-Type"], headers["X-Team"]) == ("42", "task.completed", "orders")
    assert is_authentic(SECRET, body, headers[SIGNATURE])


def test_a_signature_holds_for_one_secret_one_body_and_a_while() -> None:
    body, now = b'{"event_id": 42}', int(time.time())
    header = signature(SECRET, body, now)
    assert is_authentic(SECRET, body, header)
    assert not is_authentic("another", body, header)
    assert not is_authentic(SECRET, body + b" ", header)
    assert not is_authentic(SECRET, body, header.replace(f"t={now}", f"t={now + 1}"))
    assert not is_authentic(SECRET, body, signature(SECRET, body, now - 301))
    assert is_authentic(SECRET, body, signature(SECRET, body, now - 301), tolerance_seconds=1000)


@pytest.mark.parametrize("header", ["", "t=,v1=", "t=x,v1=y", "v1=only", "t=²,v1=y", "t=" + "9" * 400 + ",v1=y", "é"])
def test_a_header_that_is_none_is_not_authentic(header: str) -> None:
    assert not is_authentic(SECRET, b"{}", header)


def test_without_a_secret_nothing_is_signed(registry: HandlerRegistry, receiver: Receiver) -> None:
    class Open(WebhookSubscriber):
        url = receiver.url

    Open().handle_event(EVENT)
    assert SIGNATURE not in receiver.received[0][0]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_an_answer_that_says_not_now_is_one_that_passes(hook: WebhookSubscriber, receiver: Receiver, status: int) -> None:
    receiver.answers.append((status, {}, b"no"))
    with pytest.raises(RetryableError, match=f"127.0.0.1 answered {status}: no"):
        hook.handle_event(EVENT)
    assert len(receiver.received) == 1


@pytest.mark.parametrize("status", [301, 400, 401, 404, 410, 422])
def test_any_other_answer_is_a_failure_like_any_subscribers(hook: WebhookSubscriber, receiver: Receiver, status: int) -> None:
    receiver.answers.append((status, {"Location": "/elsewhere", "Retry-After": "7"}, b"no"))
    with pytest.raises(WebhookRefused, match=f"127.0.0.1 answered {status}: no"):
        hook.handle_event(EVENT)
    assert len(receiver.received) == 1


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_2xx_takes_it(hook: WebhookSubscriber, receiver: Receiver, status: int) -> None:
    receiver.answers.append((status, {}, b""))
    hook.handle_event(EVENT)


@pytest.mark.parametrize(("after", "delay"), [("7", 7.0), ("0", 0.0), ("999999", 3600.0), ("soon", None), ("-1", None), ("", None)])
def test_the_receiver_may_ask_for_a_wait(hook: WebhookSubscriber, receiver: Receiver, after: str, delay: float | None) -> None:
    receiver.answers.append((503, {"Retry-After": after}, b""))
    with pytest.raises(RetryableError) as raised:
        hook.handle_event(EVENT)
    assert raised.value.delay == delay


def test_a_receiver_that_does_not_answer_in_time_or_at_all_is_named_without_secrets(hook: WebhookSubscriber, receiver: Receiver) -> None:
    receiver.silent_seconds = 0.5
    type(hook).timeout = 0.1
    with pytest.raises(RetryableError, match=r"^127\.0\.0\.1 did not answer: ReadTimeout$"):
        hook.handle_event(EVENT)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "nonsense", "", "http://[broken", "ftp://127.0.0.1/"])
def test_an_address_that_leads_nowhere_is_an_error_like_any_other(registry: HandlerRegistry, url: str) -> None:
    class Lost(WebhookSubscriber):
        pass

    Lost.url = url
    with pytest.raises(RetryableError, match="did not answer"):
        Lost().handle_event(EVENT)


def test_a_huge_answer_is_not_read(hook: WebhookSubscriber, receiver: Receiver) -> None:
    receiver.answers.append((500, {}, b"x" * 10_000_000))
    with pytest.raises(RetryableError) as raised:
        hook.handle_event(EVENT)
    assert len(str(raised.value)) < 300


def test_a_delivery_is_repeated_until_the_receiver_takes_it(
    hook: WebhookSubscriber, receiver: Receiver, registry: HandlerRegistry, db: Database, conn: psycopg.Connection[Any], database_url: str
) -> None:
    workflow = Workflow("one_step", namespace="tests")
    workflow.define("work")
    tasks.register_definition(db, workflow.definition)
    delivery = EventDelivery(db, registry)
    delivery.subscribe()
    assert [one.name.rpartition(".")[2] for one in delivery.subscriptions] == ["Hook"], "the base class itself subscribes to nothing"
    task = tasks.submit(db, TaskRequest("one_step", "tests"))
    conn.execute("select tasker_skip_step(%s, 'work', 'ann', null)", [task])
    receiver.answers += [(503, {"Retry-After": "0"}, b"busy")] * 2
    until(lambda: delivery.deliver_due() or len(receiver.received) == 3)
    delivery.settle(10)
    assert {json.loads(body)["task_id"] for _, body in receiver.received} == {task}
    assert {headers["Tasker-Event-Id"] for headers, _ in receiver.received} == {str(json.loads(receiver.received[0][1])["event_id"])}
    [row] = events.subscriptions(db)
    assert (row.delivered_count, row.undelivered_count, row.last_error) == (1, 0, None)
    delivery.stop()


def until(look: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.005)
