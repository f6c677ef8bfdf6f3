"""`/schedules`: what runs again and again, when it runs next, and what an operator can do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from flask import Blueprint, Response, url_for

from engine import schedules
from engine.errors import RequestError
from engine.rows import ScheduleRow
from webapp.access import allowed_namespaces, may
from webapp.contexts import Action
from webapp.database import database
from webapp.downloads import Row, asked_format, list_file
from webapp.filters import sentence
from webapp.htmx import Notice, answer, asks_for_regions, given_reason, page, regions
from webapp.security import actor

RUNS_SHOWN = 10
COLUMNS = ("schedule_id", "namespace", "name", "version", "paused", "policy", "next_run_at", "last_run_at", "last_error", "refused_count", "missed_count", "created_by", "created_at", "changed_by", "changed_at", "change_reason")
POLICIES = {"skip": "left out", "one": "one task for all", "all": "one task each"}

blueprint = Blueprint("schedules", __name__)


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A schedule as its row shows it."""

    row: ScheduleRow
    words: str
    upcoming: tuple[datetime, ...]
    if_missed: str
    actions: tuple[Action, ...]


@blueprint.get("/schedules")
def index() -> Response:
    """Every schedule; for htmx the region of their rows."""
    if form := asked_format():
        rows = schedules.schedules(database(), namespaces=allowed_namespaces("tasker.schedule:index"))
        return list_file("schedules", (*COLUMNS[:4], "timing", *COLUMNS[4:]), [[_line(row) for row in rows]], form)
    return show_schedules()


@blueprint.post("/schedules/<int:schedule_id>/pause")
def pause(schedule_id: int) -> Response:
    """Make no task until it is resumed."""
    return _act(schedule_id, schedules.pause_schedule, "The schedule is paused.")


@blueprint.post("/schedules/<int:schedule_id>/resumption")
def resumption(schedule_id: int) -> Response:
    """Go on from now."""
    return _act(schedule_id, schedules.resume_schedule, "The schedule goes on.")


@blueprint.post("/schedules/<int:schedule_id>/run")
def run(schedule_id: int) -> Response:
    """Make a task of it now."""
    try:
        return _act(schedule_id, schedules.run_schedule, "A task was made.")
    except RequestError as error:
        return show_schedules(422, Notice("refused", f"No task was made. {sentence(error)}"))


def show_schedules(status: int = 200, notice: Notice | None = None) -> Response:
    """The page of the schedules, or its region, as they are now."""
    found = [schedule_view(row) for row in schedules.schedules(database(), namespaces=allowed_namespaces("tasker.schedule:index"))]
    if asks_for_regions():
        return regions(["schedules/_list.html"], status=status, notice=notice, found=found)
    return page("schedules/index.html", status=status, notice=notice, found=found)


def _line(row: ScheduleRow) -> Row:
    return {"timing": row.timing.words(), **{name: getattr(row, name) for name in COLUMNS}}


def schedule_view(row: ScheduleRow) -> ScheduleView:
    """The view of a schedule as it is in `row`."""
    return ScheduleView(row, row.timing.words(), tuple(row.upcoming(RUNS_SHOWN)), POLICIES[row.policy], _actions(row))


def _actions(row: ScheduleRow) -> tuple[Action, ...]:
    if not may("tasker.schedule:update", row.namespace):
        return ()
    run_now = Action("Run now", _url("run", row), "Make a task of it now; its own times stay as they are")
    if row.paused:
        return run_now, Action("Resume", _url("resumption", row), "Go on from now; what it did not run is not made up for")
    return run_now, Action("Pause", _url("pause", row), "Make no task until it is resumed")


def _url(noun: str, row: ScheduleRow) -> str:
    return url_for(f"schedules.{noun}", schedule_id=row.schedule_id)


def _act(schedule_id: int, command: Callable[..., object], said: str) -> Response:
    return answer(
        partial(command, database(), schedule_id, actor=actor(), reason=given_reason()),
        said=said,
        location=url_for("schedules.index"),
        show=show_schedules,
    )
