"""Each request has a correlation id where its sender gave one: its log lines bear it, the answer repeats it, and a task that it makes takes it on."""

from __future__ import annotations

import logging
import re
import time

from flask import Flask, Response, current_app, g, request

from engine import log_lines
from engine.db import OutageLog

log = logging.getLogger("tasker.web")

HEADERS = ("X-Correlation-ID", "X-Request-ID")
WELL_FORMED = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,253}[\x21-\x7e]|[\x21-\x7e]")


def init_app(app: Flask) -> None:
    """Stands before every other part, so that what is turned away is told too."""
    app.extensions["tasker_outage"] = OutageLog(log, "the dashboard has no database")
    app.before_request(_begin)
    app.after_request(_end)


def note_outage(error: BaseException) -> None:
    """This request found no database: who only looks asks again every few seconds, so that is told once for all of them."""
    g.outage = error


def correlation_id() -> str | None:
    """What the sender named the request: X-Correlation-ID, else X-Request-ID; None when neither is printable text of 1 to 255 characters."""
    given = (request.headers.get(name, "").strip() for name in HEADERS)
    return next((text for text in given if WELL_FORMED.fullmatch(text)), None)


def _begin() -> None:
    g.began = time.perf_counter()
    named = correlation_id()
    log_lines.bind(**({"correlation_id": named} if named else {}))


def _end(response: Response) -> Response:
    """One line for what failed here or changed something, one in ten seconds for an outage; the rest only for whoever asks for `debug`."""
    if named := correlation_id():
        response.headers["X-Correlation-ID"] = named
    _tell_outage(response)
    level = _level(response)
    if log.isEnabledFor(level) and "began" in g:
        log.log(level, "%s %s: %d", request.method, _path(), response.status_code, extra=_fields(response))
    return response


def _level(response: Response) -> int:
    looks = request.method in ("GET", "HEAD", "OPTIONS")
    if response.status_code >= 500 and not (looks and "outage" in g):
        return logging.ERROR
    return logging.DEBUG if looks else logging.INFO


def _tell_outage(response: Response) -> None:
    outage: OutageLog = current_app.extensions["tasker_outage"]
    if "outage" in g:
        outage.met(g.outage)
    elif response.status_code < 400 and (g.get("caller") is not None or request.endpoint == "health.ready"):
        outage.over()


def _fields(response: Response) -> dict[str, object]:
    caller = g.get("caller")
    known = {"method": request.method, "path": _path(), "status": response.status_code, "endpoint": request.endpoint}
    known["seconds"] = round(time.perf_counter() - g.began, 4)
    return known | ({"user": caller.name} if caller else {})


def _path() -> str:
    # what opens the door once may still open it when this line is read
    secret = (request.view_args or {}).get("secret")
    return request.path.replace(secret, "…") if secret else request.path
