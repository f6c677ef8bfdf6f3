"""`WebhookSubscriber`: events sent to another system over HTTP, signed. Authors subclass it; event delivery calls it and tries again what fails.

The receiver checks a delivery with `is_authentic`, and knows a repeated one by its event id.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import httpx

from engine import json_text
from engine.errors import RetryableError, TaskerError
from engine.handlers import EventSubscriber
from engine.outgoing.signing import EVENT_ID, EVENT_TYPE, SIGNATURE, is_authentic, signature

__all__ = ["EVENT_ID", "EVENT_TYPE", "SIGNATURE", "WebhookRefused", "WebhookSubscriber", "is_authentic", "signature"]

LONGEST_WAIT_SECONDS = 3600.0
SHOWN_OF_A_REFUSAL = 200
PASSING = (408, 429)
"""Answers below 500 that say: not now."""


class WebhookRefused(TaskerError):
    """The receiver answered that it does not take the event, for a reason that hardly passes by itself."""


class WebhookSubscriber(EventSubscriber):
    """Posts each event as JSON to `url`. An answer of 2xx takes it; anything else, or none in time, and it is sent again later.

    No answer, or one that the receiver cannot now (408, 429, 5xx), is borne with for a day; any other is a failure like that of any subscriber.
    The settings are class attributes or properties. With a `secret` every delivery is signed. Times are seconds.
    """

    url: str = ""
    secret: str | None = None
    headers: Mapping[str, str] = {}
    connect_timeout: float = 5.0
    timeout: float = 10.0

    def handle_event(self, event: dict[str, Any]) -> None:
        """The receiver has taken the event. Raises RetryableError when it cannot now, with the wait that its Retry-After asks for, else WebhookRefused."""
        body = json_text.dump(self.payload(event)).encode()
        try:
            with self._client().stream("POST", self.url, content=body, headers=self._headers(event, body)) as response:
                if not response.is_success:
                    raise _refusal(response)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise RetryableError(f"{self._host()} did not answer: {type(error).__name__}") from error

    def payload(self, event: dict[str, Any]) -> Any:
        """What is sent of an event: all of it. Override to send less."""
        return event

    def _headers(self, event: dict[str, Any], body: bytes) -> dict[str, str]:
        known = {"Content-Type": "application/json", "User-Agent": "tasker-webhook", EVENT_ID: str(event["event_id"]), EVENT_TYPE: event["type"]}
        signed = {SIGNATURE: signature(self.secret, body, int(time.time()))} if self.secret else {}
        return {**known, **self.headers, **signed}

    def _client(self) -> httpx.Client:
        # One per subscriber: only one thread at a time delivers to it, and the connection is kept.
        if "_opened" not in self.__dict__:
            self._opened = httpx.Client(timeout=httpx.Timeout(self.timeout, connect=self.connect_timeout))
        return self._opened

    def _host(self) -> str:
        # Without path and query, in which secrets may stand.
        try:
            return httpx.URL(self.url).host or "the receiver"
        except httpx.InvalidURL:
            return "the receiver"


def _refusal(response: httpx.Response) -> TaskerError:
    shown = next(response.iter_bytes(SHOWN_OF_A_REFUSAL), b"")[:SHOWN_OF_A_REFUSAL].decode("utf-8", "replace")
    text = f"{response.url.host} answered {response.status_code}: {shown}".rstrip(": ")
    if response.status_code < 500 and response.status_code not in PASSING:
        return WebhookRefused(text)
    after = response.headers.get("Retry-After", "")
    delay = min(float(after), LONGEST_WAIT_SECONDS) if after.isascii() and after.isdecimal() else None
    return RetryableError(text, delay=delay)
