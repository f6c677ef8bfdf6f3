"""`HttpStepHandler`: a step that is one HTTP request. Authors subclass it; a runner calls its `process` like any handler's.

What an answer means is decided here once: a result, an error that another attempt may cure, or one that needs a person.
"""

from __future__ import annotations

import os
import re
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Literal
from urllib.parse import quote

import httpx

from engine import trace_ids
from engine.errors import PermanentError, RetryableError
from engine.handlers import Sequence, Step, StepHandler, Task
from engine.json_text import MAX_BYTES

Meaning = Literal["success", "retry", "permanent"]
PERMANENT = frozenset({400, 401, 403, 404, 422})
READ_OF_A_REFUSAL = 16 << 10
SHOWN_OF_A_REFUSAL = 300
SHORTEST_SECRET = 4

_PLACE = re.compile(r"\{(context|results|env)\.([^{}]+)\}")
_SECRET_NAME = re.compile(r"(?i)authorization|cookie|token|secret|passw|key|signature|credential")
_OUR_FAULT = (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.TooManyRedirects)


class HttpStepHandler(StepHandler):
    """One HTTP request; what it answers is the step's result: JSON, else text, None for an empty body.

    Each setting is a class attribute, and the same name in a step's `handler_config` comes before it. `url`, `params`, `headers` and
    `json` may also be methods `(self, task, sequence)`; in their texts `{context.a.b}`, `{results.step.a}` and `{env.NAME}` are filled in.
    Times are seconds. Override `build_request` for another body, `handle_response` for another reading of the answer.
    """

    url: Any = None
    method: str = "GET"
    params: Any = None
    headers: Any = None
    json: Any = None
    statuses: Mapping[int, Meaning] = {}
    """What a status means where it differs: `{409: "success", 500: "permanent"}`; the words are success, retry and permanent."""
    connect_timeout: float = 5.0
    read_timeout: float = 30.0
    total_timeout: float = 120.0
    max_retry_after: float = 3600.0
    max_response_bytes: int = MAX_BYTES
    verify: bool | str | ssl.SSLContext = True
    """False trusts any certificate; a text is the file of the authorities to trust."""
    trust_env: bool = True
    """Whether HTTP_PROXY and its like count."""
    follow_redirects: bool = False
    idempotency_header: str | None = "Idempotency-Key"
    """Carries `task id:step name`, the same in every attempt, so that the other side can do the work once."""

    _config: Mapping[str, Any] = {}
    _secrets: frozenset[str] = frozenset()

    def process(self, task: Task, sequence: Sequence, step: Step) -> Any:
        """The result of `handle_response`. Raises RetryableError when no answer came, PermanentError for a request that cannot be sent."""
        self._config = step.handler_config
        client = shared_client(verify=self.setting("verify"), trust_env=self.setting("trust_env"))
        response = self._send(client, self._built(client, task, sequence, step))
        try:
            return self.handle_response(response, task, sequence, step)
        except httpx.HTTPStatusError as error:  # of `response.raise_for_status()`, whose own words hold the whole address
            raise self.error_for(error.response) from None

    def build_request(self, client: httpx.Client, task: Task, sequence: Sequence, step: Step) -> httpx.Request:
        """The request that the settings describe."""
        return client.build_request(
            self.setting("method"),
            httpx.URL(self._url(task, sequence)).copy_merge_params(self._given("params", task, sequence) or {}),
            headers=self._headers(task, sequence, step),
            json=self._given("json", task, sequence),
            timeout=httpx.Timeout(self.setting("read_timeout"), connect=self.setting("connect_timeout")),
        )

    def handle_response(self, response: httpx.Response, task: Task, sequence: Sequence, step: Step) -> Any:
        """The step's result, for a status that means success. Raises `error_for` the answer otherwise."""
        if self.meaning(response.status_code) != "success":
            raise self.error_for(response)
        return self._result(response)

    def error_for(self, response: httpx.Response) -> PermanentError | RetryableError:
        """The error that the answer stands for; its message holds none of the request's secrets."""
        status = response.status_code
        message = self._message(response.request, f"{status} {response.reason_phrase}".rstrip() + _said(response))
        if self.meaning(status) == "permanent":
            return PermanentError(message, error_code=f"HTTP_{status}")
        delay = retry_after(response.headers.get("Retry-After"))
        return RetryableError(message, delay=None if delay is None else min(delay, self.setting("max_retry_after")))

    def meaning(self, status: int) -> Meaning:
        """`success`, `retry` or `permanent`: by `statuses`, else 2xx, everything but PERMANENT, PERMANENT."""
        own = {str(key): meaning for key, meaning in self.setting("statuses").items()}
        found: Meaning = own.get(str(status)) or ("success" if 200 <= status < 300 else "permanent" if status in PERMANENT else "retry")
        if found not in ("success", "retry", "permanent"):
            raise PermanentError(f"statuses: {found!r} is none of success, retry, permanent", error_code="BAD_SETTING")
        return found

    def setting(self, name: str) -> Any:
        """The value in this step's `handler_config`, else the class attribute."""
        return self._config[name] if name in self._config else getattr(self, name)

    # ---- the request

    def _built(self, client: httpx.Client, task: Task, sequence: Sequence, step: Step) -> httpx.Request:
        try:
            request = self.build_request(client, task, sequence, step)
        except (httpx.InvalidURL, UnicodeError) as error:
            # not what they say: it may quote a password
            raise PermanentError(f"the request cannot be built ({type(error).__name__})", error_code="BAD_REQUEST") from None
        # before it is sent: a user in the address takes the place of an Authorization header
        self._secrets |= _secrets_of(request)
        return request

    def _url(self, task: Task, sequence: Sequence) -> str:
        given = self.setting("url")
        if callable(given):
            return str(given(task, sequence))
        if not given:
            raise PermanentError(f"{type(self).__name__} has no url", error_code="BAD_SETTING")
        return str(self._places(task, sequence).into_url(given))

    def _given(self, name: str, task: Task, sequence: Sequence) -> Any:
        given = self.setting(name)
        return given(task, sequence) if callable(given) else self._places(task, sequence).into(given)

    def _headers(self, task: Task, sequence: Sequence, step: Step) -> httpx.Headers:
        headers = httpx.Headers({"Accept": "application/json, text/*;q=0.5"})
        if self.setting("idempotency_header"):
            headers[self.setting("idempotency_header")] = f"{task.task_id}:{step.name}"
        if task.correlation_id:
            headers["X-Correlation-ID"] = _as_header(task.correlation_id)
        if trace_ids.IS_ON:
            headers["traceparent"] = trace_ids.of_attempt(task, step)
        headers.update({name: str(value) for name, value in (self._given("headers", task, sequence) or {}).items()})
        return headers

    def _places(self, task: Task, sequence: Sequence) -> _Places:
        return _Places(task, sequence, self._keep_secret)

    def _keep_secret(self, value: str) -> None:
        self._secrets |= {value}

    # ---- the answer

    def _send(self, client: httpx.Client, request: httpx.Request) -> httpx.Response:
        try:
            return self._answer(client, request)
        except httpx.HTTPError as error:
            raise self._no_answer(request, error) from None

    def _answer(self, client: httpx.Client, request: httpx.Request) -> httpx.Response:
        deadline = time.monotonic() + self.setting("total_timeout")
        response = client.send(request, stream=True, follow_redirects=self.setting("follow_redirects"))
        try:
            body = self._read(response, deadline)
        finally:
            response.close()
        return _whole(response, body)

    def _read(self, response: httpx.Response, deadline: float) -> bytes:
        """The body, of a refusal only its beginning."""
        wanted = self.meaning(response.status_code) == "success"
        limit = self.setting("max_response_bytes") if wanted else READ_OF_A_REFUSAL
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout("the answer took too long", request=response.request)
            if len(body) > limit:
                break
        if wanted and len(body) > limit:
            raise PermanentError(self._message(response.request, f"the answer has more than {limit:,} bytes"), error_code="RESPONSE_TOO_LARGE")
        return bytes(body[:limit])

    def _no_answer(self, request: httpx.Request, error: httpx.HTTPError) -> PermanentError | RetryableError:
        if isinstance(error, _OUR_FAULT):
            return PermanentError(self._message(request, f"cannot be sent ({type(error).__name__})"), error_code="BAD_REQUEST")
        why = f"{type(error).__name__}: {error}".removesuffix(": ")
        return RetryableError(self._message(request, f"no answer ({why})"))

    def _result(self, response: httpx.Response) -> Any:
        if not response.content:
            return None
        if not re.search(r"[/+]json\b", response.headers.get("Content-Type", "").lower()):
            return response.text
        try:
            return response.json()
        except ValueError:
            raise RetryableError(self._message(response.request, "the answer says it is JSON and is not")) from None

    def _message(self, request: httpx.Request, text: str) -> str:
        """Which request, and what became of it; nothing that is secret."""
        return _masked(f"{_named(request)}: {text}", self._secrets | _secrets_of(request))


def retry_after(text: str | None) -> float | None:
    """Seconds to wait by a Retry-After header, which holds seconds or a date; None when it says nothing usable."""
    if not text:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text.strip(), re.ASCII):
        return float(text)
    try:
        at = parsedate_to_datetime(text)
        return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None


# One client for all steps of a process


_clients: dict[tuple[object, ...], httpx.Client] = {}
_opening = threading.Lock()


def shared_client(*, verify: bool | str | ssl.SSLContext = True, trust_env: bool = True) -> httpx.Client:
    """This process's client for those settings; it keeps connections open between steps, and no cookies."""
    key = (os.getpid(), verify, trust_env)
    with _opening:
        if key not in _clients:
            _clients[key] = _client(verify, trust_env)
        return _clients[key]


def _client(verify: bool | str | ssl.SSLContext, trust_env: bool) -> httpx.Client:
    trusted = ssl.create_default_context(cafile=verify) if isinstance(verify, str) else verify
    # as many connections as the runner has steps; and what one task's server sets must not reach another task's
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=50, keepalive_expiry=15)
    cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return httpx.Client(verify=trusted, trust_env=trust_env, limits=limits, cookies=cookies, timeout=httpx.Timeout(30.0, connect=5.0))


def _after_fork() -> None:
    # The lock may have been held by a thread that the child does not have; the connections are the parent's.
    global _clients, _opening
    _clients, _opening = {}, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# Placeholders


class _Places:
    """Fills `{context...}`, `{results...}` and `{env...}` into settings, and tells which texts are secret."""

    def __init__(self, task: Task, sequence: Sequence, keep_secret: Any) -> None:
        self._task, self._sequence, self._keep_secret = task, sequence, keep_secret

    def into_url(self, template: str) -> str:
        """The address: what comes from task or steps stays within its part of it, what comes from the environment stands as it is."""
        return _PLACE.sub(lambda place: _text(place, self._found(place)) if place[1] == "env" else _quoted(place, self._found(place)), template)

    def into(self, template: Any) -> Any:
        """The value with all texts in it filled; a text that is one placeholder becomes the value itself."""
        if isinstance(template, Mapping):
            return {name: self.into(value) for name, value in template.items()}
        if isinstance(template, (list, tuple)):
            return [self.into(value) for value in template]
        if not isinstance(template, str):
            return template
        whole = _PLACE.fullmatch(template)
        return self._found(whole) if whole else _PLACE.sub(lambda place: _text(place, self._found(place)), template)

    def _found(self, place: re.Match[str]) -> Any:
        source, path = place[1], place[2]
        if source == "env":
            return self._environment(path)
        first, *rest = path.split(".")
        value = self._sequence.find_step_by_name(first).results if source == "results" else self._task.fields.get(first, _MISSING)
        for name in rest:
            value = value.get(name, _MISSING) if isinstance(value, Mapping) else _MISSING
        if value is _MISSING:
            raise PermanentError(f"there is nothing at {place[0]}", error_code="MISSING_FIELD")
        return value

    def _environment(self, name: str) -> str:
        value = os.environ.get(name)
        if value is None:
            raise PermanentError(f"the environment variable {name} is not set", error_code="MISSING_FIELD")
        if "://" not in value:
            self._keep_secret(value)
        return value


def _as_header(text: str) -> str:
    """The text as a header can bear it: what is no ASCII, or no character of a line, as in an address."""
    return quote(text.strip(), safe=" !\"#$%&'()*+,/:;<=>?@[\\]^`{|}")


_MISSING = object()


def _text(place: re.Match[str], value: Any) -> str:
    if value is None or isinstance(value, (Mapping, list)):
        raise PermanentError(f"{place[0]} is neither text nor a number", error_code="MISSING_FIELD")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(place: re.Match[str], value: Any) -> str:
    text = _text(place, value)
    # an empty part or one of dots would make the address another one
    if text in ("", ".", ".."):
        raise PermanentError(f"{place[0]} is {text!r}, which is no part of an address", error_code="BAD_REQUEST")
    return quote(text, safe="")


# What messages may say


def _named(request: httpx.Request) -> str:
    """Method and address, without user, password and query."""
    url = request.url
    return f"{request.method} {url.copy_with(username=None, password=None, query=None, fragment=None)}"


def _said(response: httpx.Response) -> str:
    """The reason that a refusal gives, on one line."""
    try:
        body = response.json()
    except ValueError:
        body = None if "html" in response.headers.get("Content-Type", "") else response.text
    if isinstance(body, Mapping):
        body = next((body[name] for name in ("error", "message", "detail", "title") if body.get(name)), "")
    text = " ".join(str(body or "").split())
    return f", {text[:SHOWN_OF_A_REFUSAL]}" if text else ""


def _secrets_of(request: httpx.Request) -> frozenset[str]:
    """What in this request nobody may read in a message."""
    url = request.url
    queried = [value for name, value in url.params.multi_items() if _SECRET_NAME.search(name)]
    # `Bearer` and its like are no secret
    sent = [word for name, value in request.headers.items() if _SECRET_NAME.search(name) for word in (value.split()[1:] or [value])]
    return frozenset([url.username, url.password, *queried, *sent]) - {request.headers.get("Idempotency-Key")}


def _masked(text: str, secrets: Iterable[str]) -> str:
    # longest first: one secret may be a part of another
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, "***").replace(quote(secret, safe=""), "***")
    return text


def _whole(response: httpx.Response, body: bytes) -> httpx.Response:
    """The answer with its body, which has been decoded already."""
    kept = [(name, value) for name, value in response.headers.multi_items() if name not in ("content-encoding", "transfer-encoding", "content-length")]
    made = httpx.Response(response.status_code, headers=kept, content=body, request=response.request, extensions=_reason(response))
    made.elapsed = response.elapsed
    return made


def _reason(response: httpx.Response) -> dict[str, Any]:
    return {name: value for name, value in response.extensions.items() if name in ("reason_phrase", "http_version")}
