"""`HttpStepHandler` against a real server on the loopback: what is sent, what an answer means, and what messages keep to themselves."""

from __future__ import annotations

import gzip
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from engine import HttpStepHandler, PermanentError, RetryableError, StepTemplate, TaskDefinition, trace_ids
from engine.errors import NotFound
from engine.handlers import Sequence, Step, Task
from engine.http import retry_after, shared_client
from engine.runners.invoke import invoke
from engine.testing import run_step

JSON = {"Content-Type": "application/json"}


@dataclass
class Received:
    """One request as the server saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int


@dataclass
class Server:
    """Gives one answer to everything, after `pause` seconds; `url` has no slash at its end."""

    url: str
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    pause: float = 0.0
    received: list[Received] = field(default_factory=list)

    def answers(self, status: int, body: Any = None, **headers: str) -> None:
        self.status, self.headers = status, {name.replace("_", "-"): value for name, value in headers.items()}
        self.body = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        if body is not None and not isinstance(body, bytes):
            self.headers = {**JSON, **self.headers}

    @property
    def last(self) -> Received:
        return self.received[-1]


@pytest.fixture
def server() -> Iterator[Server]:
    made: list[Server] = []

    class Told(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            told = made[0]
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            told.received.append(Received(self.command, self.path, dict(self.headers), body, self.client_address[1]))
            time.sleep(told.pause)
            self.send_response(told.status)
            for name, value in {"Content-Length": str(len(told.body)), **told.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(told.body)

        do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None: ...

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None: ...

    listening = Quiet(("127.0.0.1", 0), Told)
    made.append(Server(f"http://127.0.0.1:{listening.server_port}"))
    threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield made[0]
    listening.shutdown()
    listening.server_close()


def call(server: Server, *, handler: type[HttpStepHandler] = HttpStepHandler, context: Any = None, results: Any = None, **config: Any) -> Any:
    return run_step(handler, context, results, handler_config={"url": f"{server.url}/things", **config})


def retried(server: Server, **config: Any) -> RetryableError:
    with pytest.raises(RetryableError) as raised:
        call(server, **config)
    return raised.value


def refused(server: Server, **config: Any) -> PermanentError:
    with pytest.raises(PermanentError) as raised:
        call(server, **config)
    return raised.value


# What an answer means


def test_a_json_answer_is_the_result(server: Server) -> None:
    server.answers(201, {"id": 7, "tags": ["a"]})
    assert call(server) == {"id": 7, "tags": ["a"]}


def test_a_json_answer_may_name_its_own_kind_of_json(server: Server) -> None:
    server.answers(200, b"[1]", Content_Type="application/vnd.shop+json; charset=utf-8")
    assert call(server) == [1]


def test_any_other_answer_is_text(server: Server) -> None:
    server.answers(200, "grün".encode("latin-1"), Content_Type="text/plain; charset=latin-1")
    assert call(server) == "grün"


def test_no_content_is_none(server: Server) -> None:
    server.answers(204)
    assert call(server) is None


def test_an_answer_that_only_says_it_is_json_is_tried_again(server: Server) -> None:
    server.answers(200, b'{"id": 7', Content_Type="application/json")
    assert "is not" in str(retried(server))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refusal_of_the_request_is_permanent(server: Server, status: int) -> None:
    server.answers(status, {"error": "no such thing"})
    error = refused(server)
    assert error.error_code == f"HTTP_{status}"
    assert f"GET {server.url}/things: {status} " in str(error)
    assert "no such thing" in str(error)


@pytest.mark.parametrize("status", [301, 402, 409, 418, 429, 500, 502, 503, 504])
def test_everything_else_is_tried_again_after_the_steps_own_back_off(server: Server, status: int) -> None:
    server.answers(status, b"<html>sorry</html>", Content_Type="text/html")
    error = retried(server)
    assert error.delay is None
    assert str(status) in str(error)
    assert "sorry" not in str(error)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_says_how_long_to_wait(server: Server, status: int) -> None:
    server.answers(status, {}, Retry_After="7")
    assert retried(server).delay == 7
    server.answers(status, {}, Retry_After=format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True))
    assert 80 < (retried(server).delay or 0) <= 90


def test_nobody_waits_longer_than_the_limit(server: Server) -> None:
    server.answers(429, {}, Retry_After="86400")
    assert retried(server).delay == 3600
    assert retried(server, max_retry_after=10).delay == 10


def test_a_status_may_mean_something_else(server: Server) -> None:
    class Create(HttpStepHandler):
        statuses = {409: "success"}

    server.answers(409, {"id": 7})
    assert call(server, handler=Create) == {"id": 7}
    assert refused(server, statuses={"409": "permanent"}).error_code == "HTTP_409"
    server.answers(404, {})
    retried(server, statuses={"404": "retry"})


def test_a_word_that_means_nothing_is_refused(server: Server) -> None:
    assert refused(server, statuses={"200": "fine"}).error_code == "BAD_SETTING"


def test_a_server_that_is_not_there_is_tried_again() -> None:
    closed = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    closed.server_close()
    with pytest.raises(RetryableError, match="ConnectError"):
        run_step(HttpStepHandler, handler_config={"url": f"http://127.0.0.1:{closed.server_port}/"})


def test_a_server_that_does_not_answer_in_time_is_tried_again(server: Server) -> None:
    server.pause = 1
    assert "ReadTimeout" in str(retried(server, read_timeout=0.05))


def test_an_answer_that_never_ends_is_given_up(server: Server) -> None:
    server.answers(200, b"x" * 1000)
    assert "ReadTimeout" in str(retried(server, total_timeout=-1))


def test_a_connection_that_breaks_is_tried_again(server: Server) -> None:
    server.answers(200, b"half", Content_Length="10", Connection="close")
    assert "RemoteProtocolError" in str(retried(server))


def test_an_answer_has_a_limit_also_when_it_is_packed(server: Server) -> None:
    server.answers(200, b"x" * 2000)
    assert refused(server, max_response_bytes=1000).error_code == "RESPONSE_TOO_LARGE"
    server.answers(200, gzip.compress(b"x" * 3_000_000), Content_Encoding="gzip")
    assert refused(server).error_code == "RESPONSE_TOO_LARGE"
    server.answers(200, gzip.compress(b'{"id": 7}'), Content_Encoding="gzip", **{"Content_Type": "application/json"})
    assert call(server) == {"id": 7}


def test_a_long_refusal_is_no_reason_to_lose_its_status(server: Server) -> None:
    server.answers(422, b"x" * 5_000_000)
    error = refused(server)
    assert error.error_code == "HTTP_422"
    assert len(str(error)) < 600


# What is sent


def test_the_request_is_told_by_class_attributes(server: Server) -> None:
    class Order(HttpStepHandler):
        method = "PUT"
        url = f"{server.url}/orders/{{context.order.id}}?full=1"
        params = {"lang": "de"}
        headers = {"X-Shop": "{context.shop}"}
        json = {"lines": "{context.lines}", "note": "order {context.order.id}", "paid": "{results.charge.payment_id}"}

    context = {"order": {"id": 5}, "shop": "main", "lines": [{"sku": "a"}]}
    run_step(Order, context, {"charge": {"payment_id": "p1"}})
    assert (server.last.method, server.last.path) == ("PUT", "/orders/5?full=1&lang=de")
    assert server.last.headers["X-Shop"] == "main"
    assert json.loads(server.last.body) == {"lines": [{"sku": "a"}], "note": "order 5", "paid": "p1"}


def test_the_steps_own_settings_come_before_the_classs(server: Server) -> None:
    class Order(HttpStepHandler):
        url = "http://127.0.0.1:1/never"
        method = "DELETE"

    call(server, handler=Order, method="POST")
    assert (server.last.method, server.last.path) == ("POST", "/things")


def test_settings_may_be_methods(server: Server) -> None:
    class Order(HttpStepHandler):
        method = "POST"

        def url(self, task: Task, sequence: Sequence) -> str:
            return f"{server.url}/orders/{task.context['id']}"

        def json(self, task: Task, sequence: Sequence) -> Any:
            return {"charged": self.step_results(sequence, "charge"), "braces": "{context.none}"}

    run_step(Order, {"id": 3}, {"charge": 12})
    assert server.last.path == "/orders/3"
    assert json.loads(server.last.body) == {"charged": 12, "braces": "{context.none}"}


def test_what_a_context_holds_cannot_leave_its_part_of_the_address(server: Server) -> None:
    call(server, url=f"{server.url}/users/{{context.id}}/mail", context={"id": "../admin?x=1#é"})
    assert server.last.path == "/users/..%2Fadmin%3Fx%3D1%23%C3%A9/mail"
    for id in ("..", ".", ""):
        assert refused(server, url=f"{server.url}/users/{{context.id}}", context={"id": id}).error_code == "BAD_REQUEST"


def test_what_is_missing_is_named(server: Server) -> None:
    error = refused(server, json={"id": "{context.user.id}"}, context={"user": {}})
    assert (error.error_code, "{context.user.id}" in str(error)) == ("MISSING_FIELD", True)
    assert refused(server, headers={"X": "{env.TASKER_TEST_NOT_SET}"}).error_code == "MISSING_FIELD"
    assert refused(server, url=f"{server.url}/{{context.user}}", context={"user": {}}).error_code == "MISSING_FIELD"
    with pytest.raises(NotFound):
        call(server, json="{results.other.id}")


def test_a_step_without_an_address_says_so() -> None:
    with pytest.raises(PermanentError, match="HttpStepHandler has no url"):
        run_step(HttpStepHandler)


@pytest.mark.parametrize("url", ["things", "ftp://example.com/", "http://x:notaport/"])
def test_an_address_that_is_none_is_permanent(server: Server, url: str) -> None:
    assert refused(server, url=url).error_code == "BAD_REQUEST"


def test_every_attempt_carries_the_same_key(server: Server) -> None:
    definition = TaskDefinition("tests", "calls", steps=(StepTemplate("charge", handler_class=HttpStepHandler, handler_config={"url": server.url}),))
    for attempt in (1, 2):
        assert invoke(definition, 0, attempt, 3, "the-task", "{}", "corr-1", {}, lambda names: {})[0] == 0
    sent = [(each.headers["Idempotency-Key"], each.headers["X-Correlation-ID"]) for each in server.received]
    assert sent == [("the-task:charge", "corr-1")] * 2


@pytest.mark.parametrize(("correlation", "sent"), [("order 7/ä", "order 7/%C3%A4"), (" edge ", "edge"), ("two\r\nX-Lines: 1", "two%0D%0AX-Lines: 1")])
def test_no_correlation_id_keeps_a_request_from_being_sent(server: Server, correlation: str, sent: str) -> None:
    definition = TaskDefinition("tests", "calls", steps=(StepTemplate("charge", handler_class=HttpStepHandler, handler_config={"url": server.url}),))
    assert invoke(definition, 0, 1, 3, "the-task", "{}", correlation, {}, lambda names: {})[0] == 0
    assert server.last.headers["X-Correlation-ID"] == sent
    assert "X-Lines" not in server.last.headers


def test_a_request_belongs_to_the_trace_of_its_attempt_where_traces_are_on(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    call(server)
    assert "traceparent" not in server.last.headers
    monkeypatch.setattr(trace_ids, "IS_ON", True)
    call(server)
    assert trace_ids.is_well_formed(server.last.headers["traceparent"])


def test_the_key_may_have_another_name_or_none(server: Server) -> None:
    call(server, idempotency_header="X-Once")
    assert "X-Once" in server.last.headers
    call(server, idempotency_header=None)
    assert "Idempotency-Key" not in server.last.headers


def test_the_hooks_may_build_and_read_everything_themselves(server: Server) -> None:
    class Upload(HttpStepHandler):
        def build_request(self, client: httpx.Client, task: Task, sequence: Sequence, step: Step) -> httpx.Request:
            return client.build_request("PUT", server.url, content=b"\x00\x01", headers={"Content-Type": "image/png"})

        def handle_response(self, response: httpx.Response, task: Task, sequence: Sequence, step: Step) -> Any:
            response.raise_for_status()
            return {"etag": response.headers["ETag"], "took": response.elapsed.total_seconds() > 0}

    server.answers(200, b"ok", ETag="v1")
    assert run_step(Upload) == {"etag": "v1", "took": True}
    assert server.last.body == b"\x00\x01"
    server.answers(404, b"")
    with pytest.raises(PermanentError) as raised:
        run_step(Upload)
    assert raised.value.error_code == "HTTP_404"


# One client per process


def test_steps_share_one_connection(server: Server) -> None:
    for _ in range(3):
        call(server)
    assert len({each.connection for each in server.received}) == 1


def test_a_forked_process_opens_its_own_connection(server: Server) -> None:
    call(server)
    child = os.fork()
    if not child:
        call(server)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    call(server)
    first, in_child, after = (each.connection for each in server.received)
    assert first == after != in_child


def test_a_cookie_of_one_task_does_not_reach_another(server: Server) -> None:
    server.answers(200, b"", Set_Cookie="session=anns; Path=/")
    call(server)
    call(server)
    assert "Cookie" not in server.last.headers


def test_certificates_are_checked_unless_told_otherwise() -> None:
    assert shared_client() is shared_client()
    assert shared_client() is not shared_client(verify=False)


# What messages keep to themselves

SECRETS = ("s3cret-password", "s3cret-token", "s3cret-key", "s3cret-env")


def payload(server: Server, monkeypatch: pytest.MonkeyPatch, **config: Any) -> str:
    """The stored error of a call full of secrets, its traceback included."""
    monkeypatch.setenv("TASKER_TEST_SECRET", "s3cret-env")
    url = server.url.replace("://", "://ann:s3cret-password@") + "/hooks/{env.TASKER_TEST_SECRET}?api_key=s3cret-key&page=1"
    config = {"url": url, "headers": {"Authorization": "Bearer s3cret-token"}, **config}
    definition = TaskDefinition("tests", "calls", steps=(StepTemplate("charge", handler_class=HttpStepHandler, handler_config=config),))
    kind, text = invoke(definition, 0, 1, 3, "the-task", "{}", None, {}, lambda names: {})
    assert kind == 1
    return text


@pytest.mark.parametrize("status", [403, 500])
def test_a_refusal_that_quotes_the_request_does_not_tell_its_secrets(server: Server, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    server.answers(status, {"error": f"not with {' '.join(SECRETS)}"})
    text = payload(server, monkeypatch)
    assert "not with *** *** *** ***" in text
    assert not [secret for secret in SECRETS if secret in text]


def test_a_failure_on_the_way_does_not_tell_them_either(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.pause = 0.5
    text = payload(server, monkeypatch, read_timeout=0.05)
    assert "ReadTimeout" in text
    assert not [secret for secret in SECRETS if secret in text]


@pytest.mark.parametrize("broken", [{"url": "http://ann:s3cret/key@example.com/"}, {"headers": {"X-Api-Key": "s3cret-key\n"}}, {"headers": {"X": "s3cret-kéy"}}])
def test_a_request_that_cannot_be_built_does_not_quote_itself(server: Server, monkeypatch: pytest.MonkeyPatch, broken: dict[str, Any]) -> None:
    text = payload(server, monkeypatch, **broken)
    assert "BAD_REQUEST" in text
    assert "s3cret" not in text


# Retry-After


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0.0), ("12", 12.0), ("0.5", 0.5), (" 3 ", 3.0), ("-1", None), ("nan", None), ("inf", None), ("soon", None), ("", None), (None, None)]
)
def test_retry_after_in_seconds(text: str | None, seconds: float | None) -> None:
    assert retry_after(text) == seconds


def test_retry_after_as_a_date() -> None:
    ahead: Callable[..., str] = lambda **by: format_datetime(datetime.now(UTC) + timedelta(**by), usegmt=True)  # noqa: E731
    assert 80 < (retry_after(ahead(seconds=90)) or 0) <= 90
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
