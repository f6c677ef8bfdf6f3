"""One request to the accounts service, and what its answer means for the step: done, try again later, or never.

Called by the steps of `user_registration`. Every request carries a key that belongs to its step, so repeating it is harmless.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from engine import PermanentError, RetryableError
from engine.examples.services import URL_VARIABLE
from engine.http import retry_after, shared_client

TIMEOUT_SECONDS = 5.0
RATE_LIMIT_SECONDS = 60.0
PERMANENT = {
    400: "CLIENT_VALIDATION_ERROR",
    401: "AUTH_ERROR",
    403: "AUTH_ERROR",
    404: "RESOURCE_NOT_FOUND",
    422: "CLIENT_VALIDATION_ERROR",
}
CONFLICT = 409


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply that the step can go on with; 409 means that what was asked for exists already."""

    status: int
    body: dict[str, Any]
    seconds: float

    @property
    def conflict(self) -> bool:
        return self.status == CONFLICT


def call(
    method: str,
    path: str,
    *,
    key: str,
    correlation_id: str = "",
    body: Mapping[str, Any] | None = None,
    query: Mapping[str, str] | None = None,
    accepted: tuple[int, ...] = (),
    rate_limit_seconds: float = RATE_LIMIT_SECONDS,
) -> Answer:
    """Send one request. Any 2xx, 409 and the statuses in `accepted` are answers; the rest is raised.

    400, 401, 403, 404 and 422 raise `PermanentError`; 429 raises `RetryableError` for the time its Retry-After names, else
    `rate_limit_seconds`; anything else, no connection included, raises `RetryableError`.
    """
    headers = {"Idempotency-Key": key, "X-Correlation-ID": correlation_id}
    try:
        # The service is on this machine; a proxy in the environment must not come between.
        client = shared_client(trust_env=False)
        response = client.request(method, _url(path), json=body, params=query, headers=headers, timeout=TIMEOUT_SECONDS)
    except httpx.TransportError as error:
        raise RetryableError(f"{method} {path}: no answer from the accounts service ({type(error).__name__})") from error
    if not response.is_success and response.status_code not in (CONFLICT, *accepted):
        raise failure(response.status_code, response.headers, f"{method} {path}: {_reason(response)}", rate_limit_seconds=rate_limit_seconds)
    return Answer(response.status_code, _json_object(response), response.elapsed.total_seconds())


def failure(
    status: int, headers: Mapping[str, str], message: str, *, rate_limit_seconds: float = RATE_LIMIT_SECONDS
) -> PermanentError | RetryableError:
    """The error that a reply with this status stands for."""
    if status in PERMANENT:
        return PermanentError(message, error_code=PERMANENT[status])
    delay = retry_after(headers.get("Retry-After"))
    return RetryableError(message, delay=rate_limit_seconds if status == httpx.codes.TOO_MANY_REQUESTS and delay is None else delay)


def _url(path: str) -> str:
    base = os.environ.get(URL_VARIABLE, "").rstrip("/")
    if not base:
        message = f"{URL_VARIABLE} does not say where the accounts service is; `tasker demo` starts one and sets it"
        raise PermanentError(message, error_code="SERVICE_NOT_CONFIGURED")
    return base + path


def _reason(response: httpx.Response) -> str:
    said = _json_object(response).get("error")
    return f"{response.status_code} {response.reason_phrase}" + (f", {said}" if said else "")


def _json_object(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
