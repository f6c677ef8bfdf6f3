"""What the reader sees when a request cannot be served: one page in the design, or one notice for htmx. Never a traceback."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
from flask import Flask, Response, make_response, render_template, request
from flask_wtf.csrf import CSRFError
from psycopg.errors import UndefinedFunction, UndefinedTable
from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException, InternalServerError

from engine.db import translated
from engine.errors import DatabaseUnavailable, NoAnswerInTime, NotFound, WrongState
from webapp.access import NotAllowed
from webapp.htmx import Notice, asks_for_regions, regions
from webapp.request_log import note_outage

RETRY_AFTER_SECONDS = 5

TITLES = {
    400: "This request cannot be understood",
    401: "Sign in first",
    403: "This is not allowed",
    404: "There is nothing here",
    405: "This address does not take that request",
    409: "Something changed in the meantime",
    413: "This is too large",
    429: "Too much is asked for at once",
    500: "Something went wrong here",
    503: "The database cannot be reached",
}
NOT_IN_TIME = "The database did not answer in time"
ADVICE = {
    401: "This address is for people who are signed in, and programs with a token.",
    403: "The form carried no valid token, perhaps because the page was open for long. Load the page again and repeat the action.",
    404: "The address may be mistyped, or what it named has been removed.",
    405: "It takes a form sent from a page of the dashboard.",
    413: "A request may hold up to 2 MB.",
    500: "The cause is in the log of the dashboard.",
    503: "Tasks are safe: they live in the database and go on as soon as it answers.",
}
READ_AGAIN = "This page tries again by itself."
SEND_AGAIN = "Go back and send it again; look first whether it was done."

Handler = Callable[[Exception], Response]


def init_app(app: Flask) -> None:
    """Give every failure its page."""
    app.register_error_handler(HTTPException, refused)
    app.register_error_handler(CSRFError, lambda _: problem(403))
    app.register_error_handler(NotFound, lambda error: problem(404, str(error)))
    app.register_error_handler(WrongState, lambda error: problem(409, str(error)))
    for unreachable in (DatabaseUnavailable, OperationalError, InterfaceError, PoolTimeout):
        app.register_error_handler(unreachable, _unavailable)
    for unprepared in (ProgrammingError, UndefinedTable, UndefinedFunction):
        app.register_error_handler(unprepared, _not_prepared)


def problem(status: int, detail: str = "", *, title: str = "") -> Response:
    """The page, or for htmx the notice, that says what is the matter and what to do. What has a title of its own gets no advice but to try again."""
    advice = _again(status) if title else _advice(status, detail)
    title = title or TITLES.get(status, "This request cannot be served")
    if asks_for_regions():
        return regions((), status=status, notice=Notice("failed", f"{title}. {detail or advice}"))
    page = render_template("problem.html", status=status, title=title, detail=detail, advice=advice, path=request.path, tries_again=status == 503 and _only_reads())
    return make_response(page, status)


def _advice(status: int, detail: str) -> str:
    if status == 403 and detail:
        return ""
    return f"{ADVICE.get(status, '')} {_again(status)}".strip()


def _again(status: int) -> str:
    if status != 503:
        return ""
    return READ_AGAIN if _only_reads() else SEND_AGAIN


def _only_reads() -> bool:
    # a form's address asked for anew is another request, and perhaps a wider one
    return request.method in ("GET", "HEAD")


def refused(error: HTTPException) -> Response:
    """The page of an error that the web framework raised."""
    status = error.code or 500
    if isinstance(error, InternalServerError) or status >= 500 and status not in TITLES:
        return problem(500)
    if 300 <= status < 400:
        return make_response(error.get_response())
    own_words = error.description if (status == 400 or isinstance(error, NotAllowed)) and error.description else ""
    answer = problem(status, own_words)
    _keep_headers(error, answer)
    return answer


def _keep_headers(error: HTTPException, answer: Response) -> None:
    for name, value in error.get_headers():
        if name.lower() in ("allow", "www-authenticate"):
            answer.headers[name] = value


def _unavailable(error: Exception) -> Response:
    # SQLAlchemy's text names the statement and its values; only our own errors are written for readers.
    note_outage(error)
    answer = problem(503, str(error) if isinstance(error, DatabaseUnavailable) else "", title=NOT_IN_TIME if _is_late(error) else "")
    answer.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return answer


def _is_late(error: Exception) -> bool:
    """Whether it may well be there, and had no time or no connection."""
    inner = getattr(error, "orig", None)
    found = translated(inner) if isinstance(inner, psycopg.Error) else error
    return isinstance(found, (NoAnswerInTime, PoolTimeout))


def _not_prepared(error: Exception) -> Response:
    if "does not exist" not in str(error):
        return problem(500)
    answer = problem(503, "The database has no tables of this version: run tasker db upgrade.", title="The database is not prepared")
    answer.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return answer
