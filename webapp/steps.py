"""`/tasks/<id>/steps/<step>`: one step with its input, attempts and outcome, and what an operator can do to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn
from uuid import UUID

from flask import Blueprint, Response, request, url_for

from engine import queries, steps
from engine.errors import NotFound, RequestError, WrongState
from engine.journal import LEVELS
from engine.json_text import read_input
from engine.rows import StepDetail, StepRow
from webapp.contexts import ITEMS_PER_PAGE, DownstreamRetry, plan_downstream_retry, step_view
from webapp.database import database
from webapp.filters import sentence
from webapp.htmx import (
    Notice,
    Show,
    answer,
    asks_for_regions,
    done,
    given_reason,
    json_file,
    live_regions,
    page,
    regions,
)
from webapp.security import actor
from webapp.step_logs import latest_logs, log_view
from webapp.tasks import show_task

REGIONS = ("steps/_state.html", "steps/_items.html", "steps/_outcome.html", "steps/_log.html", "steps/_given.html", "steps/_relatives.html")

MAX_PLACE = 1_000_000

blueprint = Blueprint("steps", __name__)


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
    """What the step's attempts have logged, a page at a time; for htmx only the lines."""
    view = log_view(queries.step(database(), str(task_id), step_name), request.args)
    if asks_for_regions():
        return regions(live_regions(("steps/_lines.html",), is_open=view.is_open), view=view)
    return page("steps/log.html", view=view, levels=list(LEVELS))


@blueprint.post("/tasks/<uuid:task_id>/steps/<step_name>/retry")
def retry(task_id: UUID, step_name: str) -> Response:
    """Run a failed step again, or end its back-off."""
    return _act(task_id, step_name, steps.retry_step, f"{step_name} runs again.")


@blueprint.get("/tasks/<uuid:task_id>/steps/<step_name>/downstream-retry")
def preview_downstream_retry(task_id: UUID, step_name: str) -> Response:
    """What a retry of the step with everything downstream would do, and the form that does it."""
    return _show_downstream_retry(task_id, step_name)


@blueprint.post("/tasks/<uuid:task_id>/steps/<step_name>/downstream-retry")
def downstream_retry(task_id: UUID, step_name: str) -> Response:
    """Run a step that has ended and everything below it again, unless the task has changed since that was looked at."""
    plan = _planned(task_id, step_name)
    if request.form.get("seen", plan.seen) != plan.seen:
        return _show_downstream_retry(task_id, step_name, 409, "The task has changed since you looked; this is what would happen now.")
    try:
        context = _given_context(plan.context)
        steps.retry_downstream(database(), str(task_id), step_name, context=context, actor=actor(), reason=given_reason())
    except WrongState as error:
        return _show_downstream_retry(task_id, step_name, 409, sentence(error))
    except (ValueError, RequestError) as error:
        return _show_downstream_retry(task_id, step_name, 422, f"The context cannot be taken: {sentence(error)}")
    return done(f"{step_name} and everything below it run again.", url_for("tasks.show", task_id=task_id))


def _planned(task_id: UUID, step_name: str) -> DownstreamRetry:
    plan = plan_downstream_retry(queries.task(database(), str(task_id)), step_name, queries.downstream(database(), str(task_id), step_name))
    if plan is None:
        raise NotFound(f'the task has no step "{step_name}"')
    return plan


def _show_downstream_retry(task_id: UUID, step_name: str, status: int = 200, refused: str = "") -> Response:
    plan = _planned(task_id, step_name)
    typed = request.form.get("context") or json.dumps(plan.context, indent=2, ensure_ascii=False)
    return page("steps/downstream_retry.html", status=status, notice=Notice("refused", refused) if refused else None, plan=plan, typed=typed)


def _given_context(present: dict[str, Any]) -> dict[str, Any] | None:
    """The context in the form when it differs from the present one. Raises `ValueError` or `RequestError`."""
    text = request.form.get("context", "").strip()
    given = read_input(text) if text else present
    if not isinstance(given, dict):
        raise ValueError("it must be a JSON object")
    return None if given == present else given


@blueprint.post("/tasks/<uuid:task_id>/steps/<step_name>/cancellation")
def cancellation(task_id: UUID, step_name: str) -> Response:
    """Stop a step and what waits for it."""
    return _act(task_id, step_name, steps.cancel_step, f"{step_name} was told to stop.")


@blueprint.post("/tasks/<uuid:task_id>/steps/<step_name>/skip")
def skip(task_id: UUID, step_name: str) -> Response:
    """Go on without a step."""
    return _act(task_id, step_name, steps.skip_step, f"{step_name} is skipped.")


@blueprint.post("/tasks/<uuid:task_id>/steps/<step_name>/resolution")
def resolution(task_id: UUID, step_name: str) -> Response:
    """Supply the result of a step; the steps after it go on with that."""
    try:
        resolve = partial(steps.resolve_step, result=given_result())
        return _act(task_id, step_name, resolve, f"{step_name} is resolved.")
    except ValueError as error:
        return show_step(task_id, step_name, 422, Notice("refused", f"The result is not JSON: {sentence(error)}"))
    except RequestError as error:
        return show_step(task_id, step_name, 422, Notice("refused", f"The result was refused: {sentence(error)}"))


def given_result() -> Any:
    """The result in the form; an empty field is null. Raises `ValueError` when it is not JSON."""
    text = request.form.get("result", "").strip()
    return json.loads(text, parse_constant=_no_constant) if text else None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def show_step(task_id: UUID, step_name: str, status: int = 200, notice: Notice | None = None) -> Response:
    """The page of a step, or its regions, as it is now."""
    detail = queries.step(database(), str(task_id), step_name)
    first = max(0, request.args.get("items_from", 0, type=int))
    logs, earlier = latest_logs(detail)
    view = step_view(detail, _items(detail, first), first, logs, earlier)
    if asks_for_regions():
        return regions(live_regions(REGIONS, is_open=view.is_open), status=status, notice=notice, view=view, typed="")
    return page("steps/show.html", status=status, notice=notice, view=view, typed=request.form.get("result", ""))


def _items(detail: StepDetail, first: int) -> tuple[StepRow, ...]:
    if not detail.row.item_states:
        return ()
    return queries.items(database(), detail.task.task_id, detail.row.name, first=min(first, MAX_PLACE), limit=ITEMS_PER_PAGE)


def _act(task_id: UUID, step_name: str, command: Callable[..., object], said: str) -> Response:
    location, show = _where_it_was_asked(task_id, step_name)
    return answer(
        partial(command, database(), str(task_id), step_name, actor=actor(), reason=given_reason()),
        said=said,
        location=location,
        show=show,
    )


def _where_it_was_asked(task_id: UUID, step_name: str) -> tuple[str, Show]:
    """The page that the form was on: a step's buttons are also in the table of its task."""
    if request.form.get("back") == "task":
        return url_for("tasks.show", task_id=task_id), partial(show_task, task_id)
    return url_for("steps.show", task_id=task_id, step_name=step_name), partial(show_step, task_id, step_name)
