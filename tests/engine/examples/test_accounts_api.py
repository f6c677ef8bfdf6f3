"""What each HTTP status means for a step, asked of a real server that answers as it is told."""

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from engine import PermanentError, RetryableError
from engine.examples.accounts.api import call
from engine.examples.services import URL_VARIABLE

Answering = Callable[..., list[dict[str, str]]]

@pytest.mark.parametrize("status", [200, 201, 204])
def test_a_success_is_an_answer(answering: Answering, status: int) -> None:
    answering(status, b"" if status == 204 else {"user_id": 1})
    answer = call("POST", "/users", key="k")
    assert (answer.status, answer.conflict) == (status, False)
    assert answer.seconds > 0


def test_a_conflict_is_an_answer(answering: Answering) -> None:
    answering(409, {"error": "exists"})
    assert call("POST", "/users", key="k").conflict


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "CLIENT_VALIDATION_ERROR"),
        (422, "CLIENT_VALIDATION_ERROR"),
        (401, "AUTH_ERROR"),
        (403, "AUTH_ERROR"),
        (404, "RESOURCE_NOT_FOUND"),
    ],
)
def test_a_refusal_of_the_request_is_permanent(answering: Answering, status: int, code: str) -> None:
    answering(status, {"error": "no such thing"})
    with pytest.raises(PermanentError, match="no such thing") as raised:
        call("POST", "/users", key="k")
    assert raised.value.error_code == code


@pytest.mark.parametrize("status", [500, 502, 503, 504, 402, 418, 302])
def test_anything_else_is_tried_again(answering: Answering, status: int) -> None:
    answering(status, b"<html>not JSON</html>")
    with pytest.raises(RetryableError, match=str(status)) as raised:
        call("POST", "/users", key="k")
    assert raised.value.delay is None


def test_a_status_may_be_accepted_by_name(answering: Answering) -> None:
    answering(402, {"error": "pay first"})
    assert call("POST", "/billing_profiles", key="k", accepted=(402,)).body == {"error": "pay first"}


@pytest.mark.parametrize(("headers", "delay"), [({"Retry-After": "7"}, 7.0), ({}, 60.0), ({"Retry-After": "soon"}, 60.0)])
def test_a_rate_limit_waits_as_long_as_it_is_told(answering: Answering, headers: dict[str, str], delay: float) -> None:
    answering(429, {}, headers)
    with pytest.raises(RetryableError) as raised:
        call("POST", "/users", key="k")
    assert raised.value.delay == delay


def test_a_rate_limit_may_have_another_default(answering: Answering) -> None:
    answering(429, {})
    with pytest.raises(RetryableError) as raised:
        call("POST", "/welcome_sequences", key="k", rate_limit_seconds=30)
    assert raised.value.delay == 30


def test_a_busy_server_may_name_the_time_too(answering: Answering) -> None:
    answering(503, {}, {"Retry-After": "2"})
    with pytest.raises(RetryableError) as raised:
        call("POST", "/users", key="k")
    assert raised.value.delay == 2.0


def test_a_server_that_is_not_there_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    closed.server_close()
    monkeypatch.setenv(URL_VARIABLE, f"http://127.0.0.1:{closed.server_port}")
    with pytest.raises(RetryableError, match="ConnectError"):
        call("GET", "/users", key="k")


def test_a_service_without_address_needs_an_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    with pytest.raises(PermanentError, match=URL_VARIABLE) as raised:
        call("GET", "/users", key="k")
    assert raised.value.error_code == "SERVICE_NOT_CONFIGURED"


def test_a_request_carries_its_key_and_correlation_id(answering: Answering) -> None:
    received = answering(200, {})
    call("POST", "/users", key="task:create", correlation_id="reg_1", body={})
    assert (received[0]["Idempotency-Key"], received[0]["X-Correlation-ID"]) == ("task:create", "reg_1")


def test_a_proxy_does_not_come_between(answering: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(200, {})
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert call("GET", "/users", key="k").status == 200
