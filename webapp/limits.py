"""`/limits`: how much of a workflow may go on at once or begin within a period, what holds the places and what waits; changed after a look at what that would do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from flask import Blueprint, Response, make_response, redirect, request, url_for

from engine import limits
from engine.errors import ChangedSince, Problem, RequestError
from engine.gates import MOST_AT_ONCE, MOST_PER_PERIOD, Limit
from engine.rows import LimitedRow, LimitRow
from webapp.access import allowed_namespaces, may, note
from webapp.database import database
from webapp.downloads import Row, asked_format, list_file, rows_of
from webapp.htmx import Notice, asks_for_regions, done, given_reason, page, regions
from webapp.security import actor

COLUMNS = ("namespace", "name", "step_name", "limit", "declared", "taken_count", "waiting_count", "changed_by", "changed_at", "change_reason")
PLACE_COLUMNS = ("key", "task_id", "step_name", "state", "since")
PLACES_IN_A_FILE = 10_000
CHANGE = "tasker.workflow:update"
STALE = "Somebody has changed this limit since you looked, and nothing was done. This is what it would do now."

blueprint = Blueprint("limits", __name__)


@blueprint.app_context_processor
def _links() -> dict[str, object]:
    return {"limit_url": url_of}


@blueprint.get("/limits")
def index() -> Response:
    """Every limit; for htmx the region of their rows."""
    found = limits.limits(database(), namespaces=allowed_namespaces("tasker.workflow:index"))
    if form := asked_format():
        return list_file("limits", COLUMNS, [[_line(row) for row in found]], form)
    return regions(["limits/_list.html"], found=found) if asks_for_regions() else page("limits/index.html", found=found)


@blueprint.get("/limits/<namespace>/<name>")
def show(namespace: str, name: str) -> Response:
    """One limit: what it is, who set it, what holds its places and what waits; `step` names the step that it is on."""
    return _show(limits.limit_of(database(), namespace, name, asked_step()))


@blueprint.get("/limits/<namespace>/<name>/holding")
def holding(namespace: str, name: str) -> Response:
    """What holds the places of a limit as a file, the longest first."""
    return _places(namespace, name, "holding", limits.holders)


@blueprint.get("/limits/<namespace>/<name>/waiting")
def waiting(namespace: str, name: str) -> Response:
    """What waits for a place of a limit as a file, the first in line first."""
    return _places(namespace, name, "waiting", limits.waiters)


def _places(namespace: str, name: str, word: str, find: Callable[..., list[LimitedRow]]) -> Response:
    row, form = limits.limit_of(database(), namespace, name, asked_step()), asked_format()
    if form is None:
        return make_response(redirect(f"{url_of(row)}#limit-{word}", code=303))
    return list_file(f"limit-{word}", PLACE_COLUMNS, [rows_of(find(database(), row, limit=PLACES_IN_A_FILE), PLACE_COLUMNS)], form)


@blueprint.get("/limits/<namespace>/<name>/change")
def preview(namespace: str, name: str) -> Response:
    """What other numbers, or those that the definition declares, would do."""
    row = limits.limit_of(database(), namespace, name, asked_step())
    try:
        return _preview(row, read_limit(row, request.args), 200, None)
    except RequestError as error:
        return _show(row, 422, errors={one.path: one.message for one in error.problems})


@blueprint.post("/limits/<namespace>/<name>/change")
def change(namespace: str, name: str) -> Response:
    """Do what was shown, if the limit is still as it was then."""
    row = limits.limit_of(database(), namespace, name, asked_step())
    try:
        limit = read_limit(row, request.form)
        apply(row, limit, seen=request.form.get("seen", ""), is_reset="reset" in request.form, reason=given_reason())
    except RequestError as error:
        return _show(row, 422, errors={one.path: one.message for one in error.problems})
    except ChangedSince:
        row = limits.limit_of(database(), namespace, name, asked_step())
        return _preview(row, limit, 409, Notice("refused", STALE))
    return done("The limit is as its definition says." if "reset" in request.form else f"The limit is {limit or 'any number'} now.", url_of(row))


def apply(row: LimitRow, limit: Limit, *, seen: str | None, is_reset: bool, reason: str | None) -> None:
    """The limit is that, or as declared, and it is on record who made it so. Raises `ChangedSince`."""
    place = (row.namespace, row.name, row.step_name)
    if is_reset:
        limits.reset_limit(database(), *place, actor=actor(), seen=seen)
    else:
        limits.set_limit(database(), *place, at_once=limit.at_once, per_period=limit.per_period, actor=actor(), reason=reason, seen=seen)
    note("done", CHANGE, row.namespace, f"limit of {limits.words(*place)}", reason, {"act": "reset" if is_reset else f"set {limit or 'any number'}"})


def read_limit(row: LimitRow, given: Any) -> Limit:
    """The limit that a form's numbers describe: an empty one is any number, one that is not there stays. Raises `RequestError`."""
    if "reset" in given:
        return row.declared
    problems: list[Problem] = []
    at_once = _number("at_once", given.get("at_once"), row.limit.at_once, MOST_AT_ONCE, problems)
    per_period = _number("per_period", given.get("per_period"), row.limit.per_period, MOST_PER_PERIOD, problems)
    if problems:
        raise RequestError(problems)
    return replace(row.limit, at_once=at_once, per_period=per_period)


def _number(name: str, text: str | None, present: int | None, most: int, problems: list[Problem]) -> int | None:
    if text is None or not text.strip():
        return present if text is None else None
    if text.strip().isascii() and text.strip().isdigit() and len(text) < 12 and int(text) <= most:
        return int(text)
    problems.append(Problem(name, "not_a_number", f"must be a whole number from 0 to {most:,}, or empty for any number"))
    return present


def url_of(row: LimitRow, endpoint: str = "limits.show") -> str:
    """The address of the limit, or of what is done to it."""
    return url_for(endpoint, namespace=row.namespace, name=row.name, step=row.step_name)


def asked_step() -> str | None:
    """The step that the address names; None for the limit on the workflow's tasks."""
    return request.args.get("step", "").replace("\x00", "")[:200] or None


def _line(row: LimitRow) -> Row:
    return {**{name: getattr(row, name) for name in COLUMNS}, "limit": str(row.limit) or "any number", "declared": str(row.declared)}


def _show(row: LimitRow, status: int = 200, errors: dict[str, str] | None = None) -> Response:
    shown = {"holders": limits.holders(database(), row), "waiters": limits.waiters(database(), row)} if may("tasker.task:index", row.namespace) else {"holders": None, "waiters": None}
    if asks_for_regions():
        return regions(["limits/_standing.html"], row=row, **shown)
    typed = {name: request.values.get(name, "" if getattr(row.limit, name) is None else str(getattr(row.limit, name))) for name in ("at_once", "per_period")}
    return page("limits/show.html", status=status, row=row, typed=typed, errors=errors or {}, **shown)


def _preview(row: LimitRow, limit: Limit, status: int, notice: Notice | None) -> Response:
    is_reset = "reset" in request.values
    return page("limits/change.html", status=status, notice=notice, row=row, limit=limit, is_reset=is_reset, foreseen=limits.foreseen(row, limit), reason=given_reason() or "")
