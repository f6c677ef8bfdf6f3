"""The way to an OpenTelemetry collector: spans as OTLP over HTTP, with the variables that OpenTelemetry has for it. `engine.traces.tracing` fills it.

The spans come as bytes, not as objects of OpenTelemetry's SDK, which take many times as long to make and to write down. Imported only where traces are on.
"""

from __future__ import annotations

import gzip
import os
import ssl
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote

import httpx
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.sdk.resources import Resource as Known

from engine.traces.span_bytes import request_bytes

TIMEOUT_SECONDS = 10.0
DEFAULT_ENDPOINT = "http://localhost:4318"
LATER = (408, 429)
"""The answers below 500 that ask for the same again, as a collector gives them that has too much to do."""


class Untaken(NamedTuple):
    """Why the collector does not have the spans, in a few words: it refuses these, or it is away and takes them later."""

    reason: str
    is_refusal: bool


class Collector:
    """Where OTEL_EXPORTER_OTLP_ENDPOINT, or its form for traces alone, says that it is."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._url = _setting(environ, "TRACES_ENDPOINT") or f"{(_setting(environ, 'ENDPOINT') or DEFAULT_ENDPOINT).rstrip('/')}/v1/traces"
        self._zipped = (_setting(environ, "TRACES_COMPRESSION") or _setting(environ, "COMPRESSION")) == "gzip"
        self._headers = {"Content-Type": "application/x-protobuf", **_headers(_setting(environ, "TRACES_HEADERS") or _setting(environ, "HEADERS"))}
        if self._zipped:
            self._headers["Content-Encoding"] = "gzip"
        authority = _setting(environ, "TRACES_CERTIFICATE") or _setting(environ, "CERTIFICATE")
        verify = ssl.create_default_context(cafile=authority) if authority else True
        self._transport = httpx.HTTPTransport(verify=verify)  # a client would write a log line for every request
        self._resource = _resource(environ).SerializeToString()
        self._scope = InstrumentationScope(name="tasker").SerializeToString()

    def take(self, spans: list[bytes]) -> Untaken | None:
        """None when the collector has the spans, else why not."""
        body = request_bytes(self._resource, self._scope, spans)
        try:
            answer = self._post(gzip.compress(body, 1) if self._zipped else body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Untaken(type(error).__name__, is_refusal=False)
        return None if answer.is_success else Untaken(f"status {answer.status_code}", is_refusal=answer.is_client_error and answer.status_code not in LATER)

    def _post(self, content: bytes) -> httpx.Response:
        timeout = httpx.Timeout(TIMEOUT_SECONDS).as_dict()
        answer = self._transport.handle_request(httpx.Request("POST", self._url, headers=self._headers, content=content, extensions={"timeout": timeout}))
        answer.read()
        answer.close()
        return answer

    def close(self) -> None:
        """No connection is left open."""
        self._transport.close()


def _setting(environ: Mapping[str, str], name: str) -> str:
    return environ.get(f"OTEL_EXPORTER_OTLP_{name}", "").strip()


def _headers(text: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in text.split(",") if "=" in pair)
    return {unquote(name.strip()): unquote(value.strip()) for name, _, value in pairs}


def _resource(environ: Mapping[str, str]) -> Resource:
    named = "OTEL_SERVICE_NAME" in environ or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    known = Known.create({} if named else {"service.name": "tasker"})
    return Resource(attributes=[KeyValue(key=name, value=AnyValue(string_value=str(value))) for name, value in known.attributes.items()])
