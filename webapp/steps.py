"""`/tasks/<id>/steps/<step>`: one step with its input, attempts and outcome, and what an operator can do to it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from uuid import UUID

from flask import Blueprint, Response, make_response, redirect, request, url_for

from engine import queries, steps
from engine.errors import NotFound, RequestError
from engine.journal import LEVELS
from engine.rows import StepDetail, StepRow
from webapp.contexts import ITEMS_PER_PAGE, slow_steps, step_view
from webapp.database import database
from webapp.downloads import Row, asked_format, list_file
from webapp.filters import sentence
from webapp.htmx import (
    Notice,
    Show,
    answer,
    asks_for_regions,
    given_reason,
    json_file,
    live_regions,
    page,
    regions,
)
from webapp.previews import Asked, confirm, is_confirmed, read_context, read_result, show_preview
from webapp.security import actor
from webapp.step_logs import LINE_COLUMNS, all_lines, latest_logs, log_view
from webapp.step_table import parameters, read_asked
from webapp.tasks import show_task
from webapp.usuals import usual_steps

REGIONS = ("steps/_state.html", "steps/_items.html", "steps/_outcome.html", "steps/_log.html", "steps/_given.html", "steps/_relatives.html")

MAX_PLACE = 1_000_000
COLUMNS = (
    "name", "state", "kind", "item_of", "item_no", "attempts", "retry_limit", "parents", "waiting_for", "started_at", "finished_at", "duration_seconds", "next_retry_at", "engine",
    "error_type", "error_message",
)  # fmt: skip

blueprint = Blueprint("steps", __name__)


@blueprint.get("/tasks/<uuid:task_id>/steps")
def index(task_id: UUID) -> Response:
    """The steps of a task as a file, every item of its map steps among them; the page of the task has their table."""
    asked, form = read_asked(), asked_format()
    if form is None:
        return make_response(redirect(url_for("tasks.show", task_id=task_id, _anchor="task-steps", **parameters(asked)), code=303))
    detail = queries.task(database(), str(task_id))
    slow = slow_steps(detail.steps, usual_steps(detail.definition_id)) if asked.slower else frozenset()
    found = [_line(step) for step in detail.steps if asked.state in (None, step.state) and (not asked.slower or step.name in slow)]
    return list_file(f"{task_id}-steps", COLUMNS, [found], form)


@blueprint.get("/tasks/<uuid:task_id>/steps/<step_name>/items")
def items(task_id: UUID, step_name: str) -> Response:
    """The items of a map step as a file, all of them in the order of its list; the page of the step has some of them."""
    form = asked_format()
    if form is None:
        return make_response(redirect(url_for("steps.show", task_id=task_id, step_name=step_name, _anchor="step-items"), code=303))
    steps = queries.task(database(), str(task_id)).steps
    if not any(step.name == step_name and step.kind == "map" for step in steps):
        raise NotFound(f'the task has no step "{step_name}" with items')
    found = sorted((step for step in steps if step.item_of == step_name), key=lambda item: item.item_no or 0)
    return list_file(f"{task_id}-items", COLUMNS, [[_line(step) for step in found]], form)


def _line(step: StepRow) -> Row:
    error = step.error or {}
    return {"error_type": error.get("type"), "error_message": error.get("message"), **{name: getattr(step, name) for name in COLUMNS if not name.startswith("error_")}}


@blueprint.get("/tasks/<uuid:task_id>/steps/<step_name>")
def show(task_id: UUID, step_name: str) -> Response:
    """One step; for htmx its regions."""
    return show_step(task_id, step_name)


@blueprint.get("/tasks/<uuid:task_id>/steps/<step_name>/result.json")
def result(task_id: UUID, step_name: str) -> Response:
    """All of a step's result as a file; not found while it has none."""
    found = queries.results(database(), str(task_id), [step_name])
    if step_name not in found:
        raise NotFound(f'the task has no step "{step_name}" with a result')
    return json_file(found[step_name], f"{task_id}-result.json")


@blueprint.get("/tasks/<uuid:task_id>/steps/<step_name>/log")
def log(task_id: UUID, step_name: str) -> Response:
    """What the step's attempts have logged, a page at a time; for htmx only the lines; all of it as a file where that is asked for."""
    if form := asked_format():
        return list_file(f"{task_id}-log", LINE_COLUMNS, all_lines(str(task_id), step_name, request.args), form)
    view = log_view(queries.step(database(), str(task_id), step_name), request.args)
    if asks_for_regions():
        return regions(live_regions(("steps/_lines.html",), is_open=view.is_open), view=view)
    return page("steps/log.html", view=view, levels=list(LEVELS))


@blueprint.post("/tasks/<uuid:task_id>/steps/<step_name>/retry")
def retry(task_id: UUID, step_name: str) -> Response:
    """Run a failed step again, or end its back-off."""
    return _act(Asked("retry", task_id, step_name), steps.retry_step, f"{step_name} runs again.")


@blueprint.get("/tasks/<uuid:task_id>/steps/<step_name>/downstream-retry")
def preview_downstream_retry(task_id: UUID, step_name: str) -> Response:
    """What a retry of the step with everything downstream would do, and the form that does it."""
    return show_preview(Asked("downstream-retry", task_id, step_name))


@blueprint.post("/tasks/<uuid:task_id>/steps/<step_name>/downstream-retry")
def downstream_retry(task_id: UUID, step_name: str) -> Response:
    """Run a step that has ended and everything below it again."""
    asked = Asked("downstream-retry", task_id, step_name)
    try:
        command = partial(steps.retry_downstream, context=read_context(str(task_id)))
        said = f"{step_name} and everything below it run again."
        return confirm(asked, command, said, url_for("tasks.show", task_id=task_id))
    except (ValueError, RequestError) as error:
        return show_preview(asked, 422, errors={"context": f"The context cannot be taken: {sentence(error)}"})


@blueprint.post("/tasks/<uuid:task_id>/steps/<step_name>/cancellation")
def cancellation(task_id: UUID, step_name: str) -> Response:
    """Stop a step and what waits for it."""
    return _act(Asked("cancellation", task_id, step_name), steps.cancel_step, f"{step_name} was told to stop.")


@blueprint.post("/tasks/<uuid:task_id>/steps/<step_name>/skip")
def skip(task_id: UUID, step_name: str) -> Response:
    """Go on without a step."""
    return _act(Asked("skip", task_id, step_name), steps.skip_step, f"{step_name} is skipped.")


@blueprint.post("/tasks/<uuid:task_id>/steps/<step_name>/resolution")
def resolution(task_id: UUID, step_name: str) -> Response:
    """Supply the result of a step; the steps after it go on with that."""
    asked = Asked("resolution", task_id, step_name)
    try:
        resolve = partial(steps.resolve_step, result=read_result(request.form.get("result", "")))
        return _act(asked, resolve, f"{step_name} is resolved.")
    except RequestError as error:
        return _refuse_result(asked, f"The result cannot be taken: {sentence(error)}")


def _refuse_result(asked: Asked, words: str) -> Response:
    if asks_for_regions():
        return show_step(asked.task_id, str(asked.step_name), 422, Notice("refused", words))
    return show_preview(asked, 422, errors={"result": words})


def show_step(task_id: UUID, step_name: str, status: int = 200, notice: Notice | None = None) -> Response:
    """The page of a step, or its regions, as it is now."""
    detail = queries.step(database(), str(task_id), step_name)
    first = max(0, request.args.get("items_from", 0, type=int))
    logs, earlier = latest_logs(detail)
    view = step_view(detail, _items(detail, first), first, logs, earlier, usual_steps(detail.definition_id))
    if asks_for_regions():
        return regions(live_regions(REGIONS, is_open=view.is_open), status=status, notice=notice, view=view)
    return page("steps/show.html", status=status, notice=notice, view=view)


def _items(detail: StepDetail, first: int) -> tuple[StepRow, ...]:
    if not detail.row.item_states:
        return ()
    return queries.items(database(), detail.task.task_id, detail.row.name, first=min(first, MAX_PLACE), limit=ITEMS_PER_PAGE)


def _act(asked: Asked, command: Callable[..., object], said: str) -> Response:
    location, show = _where_it_was_asked(asked.task_id, str(asked.step_name))
    if is_confirmed():
        return confirm(asked, command, said, location)
    return answer(
        partial(command, database(), str(asked.task_id), asked.step_name, actor=actor(), reason=given_reason()),
        said=said,
        location=location,
        show=show,
    )


def _where_it_was_asked(task_id: UUID, step_name: str) -> tuple[str, Show]:
    """The page that the form was on: a step's buttons are also in the table of its task."""
    if request.form.get("back") == "task":
        return url_for("tasks.show", task_id=task_id), partial(show_task, task_id)
    return url_for("steps.show", task_id=task_id, step_name=step_name), partial(show_step, task_id, step_name)
