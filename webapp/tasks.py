"""`/tasks`: the filtered list, one task with its graph and steps, and what an operator can do to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, make_response, redirect, request, url_for

from engine import queries, tasks
from engine import report as reports
from engine.errors import RequestError, WrongState
from engine.outgoing import followers, notices
from engine.rows import ActivityRow
from engine.states import TaskState
from webapp.access import allowed_namespaces, hide_foreign, known_caller, may, note_act
from webapp.contexts import ACTIVITY_SHOWN, CHILDREN_SHOWN, ITEMS_SHOWN, task_view, timeline_view
from webapp.database import database
from webapp.downloads import ROWS, Row, asked_format, list_file, rows_of
from webapp.filters import sentence
from webapp.htmx import (
    MAX_REASON,
    Notice,
    answer,
    asks_for_regions,
    done,
    given_reason,
    json_file,
    live_regions,
    page,
    regions,
)
from webapp.incident import incident_file
from webapp.listing import TASK_COLUMNS, all_tasks, list_tasks, renewed, with_known_names
from webapp.paces import paces
from webapp.previews import Asked, confirm, is_confirmed
from webapp.security import actor
from webapp.step_table import read_asked
from webapp.task_filter import asked_filter, read_shown, without
from webapp.timeline import Lane
from webapp.usuals import usual_steps, usuals
from webapp.views import strip
from webapp.why import STUCK_WORDS

REGIONS = ("tasks/_state.html", "tasks/_graph.html", "tasks/_steps.html", "tasks/_children.html", "tasks/_activity.html")

TIMELINE_REGIONS = ("tasks/_timeline.html",)
MOVE_COLUMNS = ("at", "step_name", "from_state", "to_state", "attempt", "engine", "actor", "is_note", "reason", "error_type", "error_message")
ACTIVITY_IN_A_FILE = 100_000
LANE_COLUMNS = ("step_name", "state", "began_after_seconds", "queued_seconds", "ran_seconds", "backed_off_seconds", "attempts", "is_critical")

blueprint = Blueprint("tasks", __name__)


@blueprint.get("/tasks")
def index() -> Response:
    """The list that the query parameters ask for; for htmx its region, with the tasks it was `shown` with in their places; all of it as a file where that is asked for."""
    asked = with_known_names(asked_filter(request.args))
    if form := asked_format():
        return list_file("tasks", TASK_COLUMNS, all_tasks(asked), form)
    shown = read_shown(request.args.get("shown"))
    if asks_for_regions():
        found = renewed(asked, shown) if shown else list_tasks(asked)
        return regions(["tasks/_list.html", "views/_strip.html"], found=found, paces=paces(found.items), kept=strip())
    found = list_tasks(asked)
    known: dict[str, Any] = {"states": list(TaskState), "slower_words": {"yes": "Slower than usual"}, "stuck_words": {"any": "For any reason", **STUCK_WORDS}, "namespaces": queries.namespace_names(database(), only=allowed_namespaces("tasker.task:index"))}
    return page("tasks/index.html", found=found, paces=paces(found.items), kept=strip(), without=without, **known)


@blueprint.get("/tasks/<uuid:task_id>")
def show(task_id: UUID) -> Response:
    """One task; for htmx its regions."""
    return show_task(task_id)


@blueprint.get("/tasks/<uuid:task_id>/report")
def report(task_id: UUID) -> Response:
    """The report on a task, to be kept: one HTML page, or Markdown when that is the format asked for."""
    markdown = request.args.get("format") == "markdown"
    written = reports.markdown_report if markdown else reports.html_report
    answer = _kept(written(database(), str(task_id)), f"task-{task_id}.{'md' if markdown else 'html'}")
    answer.mimetype = "text/markdown" if markdown else "text/html"
    return answer


@blueprint.get("/tasks/<uuid:task_id>/incident")
def incident(task_id: UUID) -> Response:
    """All that is on record of a task as one HTML page, to be kept with a ticket."""
    return _kept(incident_file(database(), str(task_id)), f"incident-{task_id}.html")


def _kept(text: str, name: str) -> Response:
    answer = make_response(text)
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    answer.headers["Content-Security-Policy"] = f"{reports.POLICY}; frame-ancestors 'none'"
    answer.headers["Cache-Control"] = "no-store"
    return answer


@blueprint.post("/tasks/<uuid:task_id>/cancellation")
def cancellation(task_id: UUID) -> Response:
    """Stop the task."""
    return _act(Asked("cancellation", task_id), tasks.cancel_task, "The task was told to stop.")


@blueprint.post("/tasks/<uuid:task_id>/retry")
def retry(task_id: UUID) -> Response:
    """Run every failed step of the task again."""
    return _act(Asked("retry", task_id), tasks.retry_task, "The failed steps run again.")


@blueprint.post("/tasks/<uuid:task_id>/pause")
def pause(task_id: UUID) -> Response:
    """Start nothing more of the task; running steps may end."""
    return _act(Asked("pause", task_id), tasks.pause_task, "The task is paused.")


@blueprint.post("/tasks/<uuid:task_id>/resumption")
def resumption(task_id: UUID) -> Response:
    """Let a paused task go on."""
    return _act(Asked("resumption", task_id), tasks.resume_task, "The task goes on.")


@blueprint.post("/tasks/<uuid:task_id>/notes")
def note(task_id: UUID) -> Response:
    """Keep a person's remark in the task's activity."""
    written = request.form.get("note", "").replace("\x00", "").strip()
    if not written or len(written) > MAX_REASON:
        said = f"A note has 1 to {MAX_REASON:,} characters; this one has {len(written):,}."
        return show_task(task_id, 422, Notice("refused", said), note=written)
    return answer(
        partial(tasks.note_task, database(), str(task_id), actor=actor(), note=written),
        said="The note is kept.",
        location=url_for("tasks.show", task_id=task_id, _anchor="task-activity"),
        show=partial(show_task, task_id),
    )


@blueprint.post("/tasks/<uuid:task_id>/followers")
def follow(task_id: UUID) -> Response:
    """Have somebody told when the task ends."""
    channel, target = (request.form.get(name, "").replace("\x00", "").strip() for name in ("channel", "target"))
    link = url_for("tasks.show", task_id=task_id, _external=True)
    try:
        followers.follow(database(), str(task_id), known_caller().account_id, channel=channel, target=target, link=link)
    except (RequestError, WrongState) as error:
        return show_task(task_id, 409 if isinstance(error, WrongState) else 422, Notice("refused", sentence(error)), telling={"channel": channel, "target": target})
    note_act("done")
    return done(f"{target} is told when the task ends.", url_for("tasks.show", task_id=task_id))


@blueprint.post("/tasks/<uuid:task_id>/followers/<int:follower_id>/removal")
def unfollow(task_id: UUID, follower_id: int) -> Response:
    """Have them told nothing."""
    followers.unfollow(database(), str(task_id), known_caller().account_id, follower_id)
    note_act("done")
    return done("They are told nothing.", url_for("tasks.show", task_id=task_id))


@blueprint.get("/tasks/<uuid:task_id>/timeline")
def timeline(task_id: UUID) -> Response:
    """When each step waited, ran and backed off; for htmx the region of its lines; its figures as a file where that is asked for."""
    view = timeline_view(
        queries.task(database(), str(task_id)), queries.moves(database(), str(task_id)), queries.clock(database())
    )
    if form := asked_format():
        return list_file(f"{task_id}-timeline", LANE_COLUMNS, [[_lane_line(lane) for lane in view.timeline.lanes]], form)
    if asks_for_regions():
        return regions(live_regions(TIMELINE_REGIONS, is_open=view.is_open), view=view)
    return page("tasks/timeline.html", view=view)


def _lane_line(lane: Lane) -> Row:
    step, times = lane.step, {f"{name}_seconds": getattr(lane, name) for name in ("queued", "ran", "backed_off")}
    return {"step_name": step.name, "state": step.state, "attempts": step.attempts, "began_after_seconds": lane.begins, **times, "is_critical": lane.is_critical}


@blueprint.get("/tasks/<uuid:task_id>/activity")
def activity(task_id: UUID) -> Response:
    """What happened to the task and its steps as a file, newest first; the page of the task has the newest of it."""
    form = asked_format()
    if form is None:
        return make_response(redirect(url_for("tasks.show", task_id=task_id, _anchor="task-activity"), code=303))
    moves = queries.activity(database(), str(task_id), limit=ACTIVITY_IN_A_FILE)
    return list_file(f"{task_id}-activity", MOVE_COLUMNS, [[_move_line(move) for move in moves]], form)


def _move_line(move: ActivityRow) -> Row:
    error = move.error or {}
    told = {"is_note": move.is_note, "error_type": error.get("type"), "error_message": error.get("message")}
    return told | {name: getattr(move, name) for name in MOVE_COLUMNS if name not in told}


@blueprint.get("/tasks/<uuid:task_id>/children")
def children(task_id: UUID) -> Response:
    """The tasks that the task's steps have submitted as a file, the oldest first; the page of the task has the first of them."""
    form = asked_format()
    if form is None:
        return make_response(redirect(url_for("tasks.show", task_id=task_id, _anchor="task-children"), code=303))
    pages = queries.all_children(database(), str(task_id), at_once=ROWS, namespaces=allowed_namespaces("tasker.task:index"))
    return list_file(f"{task_id}-children", TASK_COLUMNS, (rows_of(found, TASK_COLUMNS) for found in pages), form)


@blueprint.get("/tasks/<uuid:task_id>/context.json")
def context(task_id: UUID) -> Response:
    """All of the context as a file."""
    return json_file(queries.task(database(), str(task_id)).context, f"{task_id}-context.json")


def show_task(task_id: UUID, status: int = 200, notice: Notice | None = None, note: str = "", telling: Mapping[str, str] | None = None) -> Response:
    """The page of a task, or its regions, as it is now."""
    detail = queries.task(database(), str(task_id), items=ITEMS_SHOWN)
    detail = replace(detail, parent_task_id=hide_foreign(detail.parent_task_id))
    moves = queries.activity(database(), str(task_id), limit=ACTIVITY_SHOWN + 1)
    children = queries.children(database(), str(task_id), limit=CHILDREN_SHOWN + 1, namespaces=allowed_namespaces("tasker.task:show"))
    version = (detail.task.namespace, detail.task.name, detail.task.version)
    view = task_view(detail, moves, usuals([version]).get(version), queries.clock(database()), children, read_asked(), usual_steps(detail.definition_id))
    if asks_for_regions():
        return regions(live_regions(REGIONS, is_open=view.is_open), status=status, notice=notice, view=view)
    told = followers.followers(database(), str(task_id), known_caller().account_id)
    deliveries = notices.task_deliveries(database(), str(task_id)) if may("tasker.task:update", detail.task.namespace) else []
    return page("tasks/show.html", status=status, notice=notice, view=view, note=note, telling=telling, followers=told, deliveries=deliveries)


def _act(asked: Asked, command: Callable[..., object], said: str) -> Response:
    location = url_for("tasks.show", task_id=asked.task_id)
    if is_confirmed():
        return confirm(asked, command, said, location)
    return answer(
        partial(command, database(), str(asked.task_id), actor=actor(), reason=given_reason()),
        said=said,
        location=location,
        show=partial(show_task, asked.task_id),
    )
