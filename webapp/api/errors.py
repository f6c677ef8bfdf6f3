"""Every failure of a request to the API in one form: `{"errors": [{"path", "code", "message"}]}`, with the status that fits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask import Flask, Response, request
from flask.sansio.scaffold import Scaffold
from psycopg.errors import UndefinedFunction, UndefinedTable
from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from engine import json_text
from engine.errors import (
    MAX_PROBLEMS,
    ChangedSince,
    DatabaseUnavailable,
    KeyReused,
    NotFound,
    Problem,
    RequestError,
    TaskerError,
    WrongState,
)
from webapp import problems
from webapp.downloads import RETRY_AFTER_SECONDS, TooManyDownloads
from webapp.request_log import note_outage

PREFIX = "/api/"
UNPARSEABLE = frozenset({"bad_json", "bad_encoding"})
NOT_READY = "the database has no tables of this version: run tasker db upgrade"
UNREACHABLE = "the database cannot be reached; tasks are safe and go on as soon as it answers"
UNPREPARED = (ProgrammingError, UndefinedFunction, UndefinedTable)
DATABASE_ERRORS = (OperationalError, InterfaceError, PoolTimeout, *UNPREPARED)

WORDS: dict[int, tuple[str, str]] = {
    400: ("bad_request", "this request cannot be understood"),
    401: ("unauthorized", "send a token: Authorization: Bearer ..."),
    403: ("forbidden", "this token or account may not do that"),
    404: ("not_found", "there is nothing at this address"),
    405: ("method_not_allowed", "this address does not take that method; the header Allow names those it takes"),
    413: ("too_large", f"a request may hold up to {json_text.MAX_BYTES:,} bytes"),
    415: ("unsupported_media_type", "send application/json in UTF-8, not compressed"),
    429: ("too_many_requests", "too many requests; the header Retry-After says when to ask again"),
    500: ("internal", "something went wrong here; the cause is in the log of the dashboard"),
    503: ("unavailable", "ask again after the seconds of the header Retry-After"),
}
OWN_WORDS = frozenset({400, 401, 403, 415, 429, 503})
"""Where the description of an HTTPException was written for readers, if it was not left as it comes."""


class Refused(TaskerError):
    """A request that is turned away before anything is done: its status and code, and after how many seconds to ask again."""

    def __init__(self, status: int, code: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.retry_after = status, code, retry_after


def init_app(app: Flask) -> None:
    """Errors without an endpoint, such as an address that does not exist, are in the API's form where they are under its prefix."""
    app.register_error_handler(HTTPException, lambda error: answer(error) if is_asked() else problems.refused(error))
    app.register_error_handler(Refused, answer)


def speak_json(scaffold: Scaffold) -> None:
    """Errors of these endpoints are in the API's form. What nobody expected is not named: Flask logs it and makes it a 500."""
    for kind in (HTTPException, TaskerError, *DATABASE_ERRORS):
        scaffold.register_error_handler(kind, answer)


def is_asked() -> bool:
    """Whether the request is for the API."""
    return request.path.startswith(PREFIX)


def answer(error: Exception) -> Response:
    """The answer that tells a program what is wrong."""
    if isinstance(error, HTTPException):
        return _http(error)
    status, found = told(error)
    if isinstance(error, (DatabaseUnavailable, *DATABASE_ERRORS)) and status == 503:
        note_outage(error)
    return respond(status, found, retry_after=_retry_after(error, status))


def told(error: Exception) -> tuple[int, list[Problem]]:
    """The status of one of our own errors, and what is wrong."""
    if isinstance(error, RequestError):
        return (400 if {one.code for one in error.problems} & UNPARSEABLE else 422), error.problems
    if isinstance(error, DATABASE_ERRORS):
        return _of_database(error)
    status, code = next((found for kind, found in STATUSES if isinstance(error, kind)), (500, "internal"))
    if isinstance(error, Refused):
        status, code = error.status, error.code
    return status, [Problem("", code, WORDS[500][1] if status == 500 else str(error))]


STATUSES: tuple[tuple[type[Exception], tuple[int, str]], ...] = (
    (NotFound, (404, "not_found")),
    (ChangedSince, (412, "changed")),
    (WrongState, (409, "wrong_state")),
    (KeyReused, (422, "key_reused")),
    (TooManyDownloads, (429, "too_many_downloads")),
    (DatabaseUnavailable, (503, "unavailable")),
)


def respond(status: int, found: Iterable[Problem], *, retry_after: float | None = None, headers: Any = ()) -> Response:
    """The problems as JSON, at most MAX_PROBLEMS of them."""
    listed = [{"path": one.path, "code": one.code, "message": one.message} for one in list(found)[:MAX_PROBLEMS]]
    response = Response(json_text.dump({"errors": listed}), status, mimetype="application/json")
    for name, value in headers:
        response.headers[name] = value
    if status == 401:
        response.headers.setdefault("WWW-Authenticate", "Bearer")
    if retry_after is not None:
        response.headers["Retry-After"] = str(max(1, round(retry_after)))
    return response


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400:
        return Response(status=status, headers=error.get_headers())
    code, words = WORDS.get(status, ("refused", error.name.lower()))
    if status in OWN_WORDS and error.description and error.description != type(error).description:
        words = error.description
    kept = [(name, value) for name, value in error.get_headers() if name.lower() in ("allow", "retry-after", "www-authenticate")]
    return respond(status, [Problem("", code, words)], headers=kept)


def _of_database(error: Exception) -> tuple[int, list[Problem]]:
    # SQLAlchemy's text names the statement and its values, which is nobody's business
    if not isinstance(error, UNPREPARED):
        return 503, [Problem("", "unavailable", UNREACHABLE)]
    if "does not exist" in str(error):
        return 503, [Problem("", "unavailable", NOT_READY)]
    return 500, [Problem("", *WORDS[500])]


def _retry_after(error: Exception, status: int) -> float | None:
    if isinstance(error, Refused):
        return error.retry_after
    if isinstance(error, TooManyDownloads):
        return RETRY_AFTER_SECONDS
    return problems.RETRY_AFTER_SECONDS if status == 503 else None
