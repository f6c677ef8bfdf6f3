"""How one action answers two callers: htmx gets the regions that changed, a plain form gets a redirect to the page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from flask import Flask, Response, flash, get_flashed_messages, make_response, redirect, render_template, request
from markupsafe import Markup

from engine.errors import WrongState
from webapp.access import note_act
from webapp.filters import sentence

MAX_REASON = 2_000
SANDBOX = "default-src 'none'; sandbox"
"""For files whose content is anybody's: opened all the same, they may do nothing."""
MORPH = Markup(' hx-swap-oob="morph"')


@dataclass(frozen=True, slots=True)
class Notice:
    """One sentence to the reader; `kind` is done, refused or failed."""

    kind: str
    text: str


def init_app(app: Flask) -> None:
    """Offer every template `swap`: empty on a page, the mark of a region to be exchanged in an answer to htmx."""
    app.context_processor(lambda: {"swap": "", "notices": current_notices})
    app.after_request(_vary)


def asks_for_regions() -> bool:
    """Whether htmx sent this request and so wants regions instead of a page."""
    return request.headers.get("HX-Request") == "true" and "HX-History-Restore-Request" not in request.headers


def regions(names: Iterable[str], *, status: int = 200, notice: Notice | None = None, **context: object) -> Response:
    """The named partials, each marked to replace the region of the same id."""
    parts = [render_template(name, swap=MORPH, **context) for name in names]
    if notice is not None:
        parts.append(render_template("layout/_notices.html", swap=MORPH, notices=lambda: [notice]))
    return make_response("\n".join(parts), status)


def live_regions(names: tuple[str, ...], *, is_open: bool) -> tuple[str, ...]:
    """The regions of a live page, and for one whose subject has ended the end of its stream."""
    return names if is_open else (*names, "layout/_ended.html")


def done(text: str, location: str) -> Response:
    """Answer a plain form: say what happened on the page it is sent to."""
    flash(text, "done")
    return make_response(redirect(location, code=303))


def current_notices() -> list[Notice]:
    """What an earlier answer left to be said on this page."""
    return [Notice(said[0], said[1]) for said in get_flashed_messages(with_categories=True)]


def _vary(response: Response) -> Response:
    if response.mimetype == "text/html":
        response.vary.add("HX-Request")
    return response


Show = Callable[[int, Notice | None], Response]


def answer(act: Callable[[], object], *, said: str, location: str, show: Show) -> Response:
    """Do an operator's action and tell how it went; `show` renders the page, or its regions, as they are afterwards.

    An action that came too late is answered with 409 and the newer state.
    """
    try:
        act()
    except WrongState as error:
        note_act("refused", given_reason())
        return show(409, Notice("refused", sentence(error)))
    note_act("done", given_reason())
    return show(200, Notice("done", said)) if asks_for_regions() else done(said, location)


def page(name: str, *, status: int = 200, notice: Notice | None = None, **context: object) -> Response:
    """A whole page; `notice` is said on it instead of what an earlier answer left."""
    if notice is not None:
        context["notices"] = lambda: [notice]
    return make_response(render_template(name, **context), status)


def json_file(value: object, name: str) -> Response:
    """The value as a file to be kept; never opened as a page."""
    response = make_response(json.dumps(value, indent=2, ensure_ascii=False, default=str))
    response.mimetype = "application/json"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "no-store"
    response.headers["Content-Security-Policy"] = SANDBOX
    return response


def given_reason() -> str | None:
    """The operator's reason, as it goes into the history; None when none was given."""
    return request.form.get("reason", "").replace("\x00", "").strip()[:MAX_REASON] or None
