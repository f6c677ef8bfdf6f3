"""`/failures`: what failed, those with one cause together, who looks after them and until when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Any

from flask import Blueprint, Response, request, url_for

from engine import queries
from engine.errors import Problem, RequestError
from engine.finding import failures
from engine.finding.failure_filter import found_failures, read_failure_filter
from engine.finding.failures import FailureGroup, FailureNote
from engine.finding.views import FAILURES
from webapp.access import allowed_namespaces, require
from webapp.database import database
from webapp.downloads import Row, asked_format, list_file
from webapp.filters import keep_zone_of_form, local_text, read_local
from webapp.htmx import Notice, answer, asks_for_regions, page, regions
from webapp.security import actor
from webapp.views import strip

STEPS_SHOWN = 50
COLUMNS = ("key", "namespace", "name", "step_name", "signature", "step_count", "fail_count", "task_count", "open_count", "healed_count", "first_at", "last_at", "versions", "samples", "acknowledged", "is_cut")
FIELDS = ("owner", "note", "runbook", "until")

blueprint = Blueprint("failures", __name__)


@blueprint.get("/failures")
def index() -> Response:
    """The groups that somebody has to look at, then those that a later run has healed, and those acknowledged; for htmx the region of all."""
    chosen = read_failure_filter(request.args)
    failed = found_failures(database(), chosen, namespaces=_here())
    found = failed.groups
    if form := asked_format():
        return list_file("failures", (*COLUMNS, *FIELDS), [[_line(each) for each in found]], form)
    seen: dict[str, Any] = {**_sorted(found), "looked_at": failed.looked_at, "tasks_looked_at": failed.tasks_looked_at, "group_count": failed.group_count, "chosen": chosen.parameters()}
    if asks_for_regions():
        return regions(["failures/_list.html", "views/_strip.html"], kept=strip(FAILURES), **seen)
    return page("failures/index.html", kept=strip(FAILURES), typed={name: value or "" for name, value in asdict(chosen).items()}, namespaces=queries.namespace_names(database(), only=_here()), **seen)


@blueprint.get("/failures/<key>")
def show(key: str) -> Response:
    """One group: what it is, its steps, and what can be done with all of them."""
    if form := asked_format():
        steps = failures.failed_steps(database(), _group(key)).steps
        return list_file("failed-steps", ("task_id", "step_name"), [[{"task_id": task_id, "step_name": step_name} for task_id, step_name in steps]], form)
    return show_group(_group(key))


@blueprint.post("/failures/<key>/note")
def note(key: str) -> Response:
    """Keep who looks after the group, until when, and what is known of it."""
    keep_zone_of_form()
    group, typed = _group(key), {name: request.form.get(name, "").replace("\x00", "").strip() for name in FIELDS}
    require("tasker.step:update", group.namespace)
    try:
        known = FailureNote(typed["owner"] or None, typed["note"] or None, typed["runbook"] or None, _moment(typed["until"]))
        return answer(
            partial(failures.keep_note, database(), group, known, actor=actor()),
            said="What is known of these failures is kept.",
            location=url_for("failures.show", key=group.key),
            show=lambda status, notice: show_group(_group(key), status, notice),
        )
    except RequestError as error:
        return show_group(group, 422, Notice("refused", "Nothing was kept."), typed, {each.path: each.message for each in error.problems})


def show_group(
    group: FailureGroup, status: int = 200, notice: Notice | None = None, typed: dict[str, str] | None = None, errors: dict[str, str] | None = None
) -> Response:
    """The page of a group; `typed` is what stands in the fields where that could not be kept."""
    steps = failures.failed_steps(database(), group, most=STEPS_SHOWN, among=failures.LOOKED_AT).steps
    known = typed or {name: _text(getattr(group.known, name)) for name in FIELDS}
    return page("failures/show.html", status=status, notice=notice, group=group, steps=steps, typed=known, errors=errors or {})


def _sorted(groups: Sequence[FailureGroup]) -> dict[str, list[FailureGroup]]:
    found: dict[str, list[FailureGroup]] = {"open": [], "healed": [], "acknowledged": []}
    for group in groups:
        found["acknowledged" if group.acknowledged else "healed" if group.is_healed else "open"].append(group)
    return found


def _line(group: FailureGroup) -> Row:
    return {**{name: getattr(group, name) for name in COLUMNS}, **{name: getattr(group.known, name) for name in FIELDS}}


def _group(key: str) -> FailureGroup:
    return failures.failure_group(database(), key, namespaces=_here())


def _here() -> Any:
    return allowed_namespaces("tasker.step:index")


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return local_text(value)
    return str(value or "")


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        return read_local(text)
    except (ValueError, OverflowError):
        raise RequestError([Problem("until", "no_time", "must be a time such as 2026-01-31T08:30")]) from None
