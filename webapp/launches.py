"""`/workflows/<ns>/<name>/<version>/launch`: the form that makes a task, field by field or as one JSON text."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from flask import Blueprint, Response, make_response, redirect, request, url_for
from werkzeug.datastructures import MultiDict

from engine import queries, tasks
from engine.errors import KeyReused, NotFound, RequestError
from engine.requests import TaskRequest
from engine.rows import DefinitionRow
from webapp.database import database
from webapp.filters import sentence
from webapp.forms import LaunchForm, launch_form
from webapp.htmx import Notice, asks_for_regions, page
from webapp.security import actor

OPTIONS = ("reason", "tags", "priority", "correlation_id", "idempotency_key", "run_at")
RAW = "context"  # the entry of webapp.forms that holds the whole context as JSON

blueprint = Blueprint("launches", __name__)


@dataclass(frozen=True, slots=True)
class Launch:
    """The page in one state: the form of the context, the options as typed, and what is wrong with them."""

    definition: DefinitionRow
    form: LaunchForm
    mode: str = "fields"
    options: dict[str, str] = field(default_factory=lambda: dict.fromkeys(OPTIONS, ""))
    option_errors: dict[str, str] = field(default_factory=dict)
    errors: tuple[str, ...] = ()


@blueprint.get("/workflows/<namespace>/<name>/<version>/launch")
def form(namespace: str, name: str, version: str) -> Response:
    """An empty form, or with `?from_task=<id>` one filled with that task's context."""
    definition = queries.definition(database(), namespace, name, version)
    initial = _context_of(request.args.get("from_task"))
    return _page(_launch(definition, request.args.get("mode", ""), initial))


@blueprint.post("/workflows/<namespace>/<name>/<version>/launch")
def launch(namespace: str, name: str, version: str) -> Response:
    """Make the task and go to its page; the form again when it was changed by a button or something is wrong."""
    definition = queries.definition(database(), namespace, name, version)
    sent = launch_form(definition.schema, request.form)
    wanted = request.form.get("_mode")
    if wanted and wanted != _mode():
        return _switched(definition, sent, wanted)
    state = Launch(definition, sent, _mode(), _options())
    if sent.changed:
        return _page(state)
    return _made(state) if sent.validate() else _page(state, 422)


def _launch(definition: DefinitionRow, mode: str, initial: dict[str, Any] | None) -> Launch:
    if mode != "json":
        return Launch(definition, launch_form(definition.schema, None, initial))
    context = initial if initial is not None else launch_form(definition.schema).context()
    return Launch(definition, _raw_form(definition, context), "json")


def _raw_form(definition: DefinitionRow, context: dict[str, Any]) -> LaunchForm:
    text = json.dumps(context, indent=2, ensure_ascii=False)
    return launch_form(definition.schema, MultiDict({RAW: text}))


def _switched(definition: DefinitionRow, sent: LaunchForm, mode: str) -> Response:
    """The other way of asking, holding what was entered; a text that is no JSON object has no fields to go into."""
    if mode == "fields" and not sent.validate() and not sent.context():
        return _page(Launch(definition, sent, "json", _options()), 422)
    context = sent.context()
    other = _raw_form(definition, context) if mode == "json" else launch_form(definition.schema, None, context)
    return _page(Launch(definition, other, mode, _options()))


def _made(state: Launch) -> Response:
    try:
        task_id = tasks.submit(database(), _request(state))
    except RequestError as error:
        return _page(_objected(state, error), 422)
    except KeyReused as error:
        return _page(state, 409, Notice("refused", sentence(error)))
    return _go_to(url_for("tasks.show", task_id=task_id))


def _go_to(location: str) -> Response:
    if not asks_for_regions():
        return make_response(redirect(location, code=303))
    response = make_response("", 204)
    response.headers["HX-Redirect"] = location
    return response


def _request(state: Launch) -> TaskRequest:
    """The request that the form makes. Raises `RequestError`."""
    definition, options = state.definition, state.options
    return TaskRequest.of(
        {
            "name": definition.name,
            "namespace": definition.namespace,
            "version": definition.version,
            "context": state.form.context(),
            "initiator": actor(),
            "source_system": "dashboard",
            "reason": options["reason"] or None,
            "tags": tuple(tag.strip() for tag in options["tags"].split(",") if tag.strip()),
            "priority": _number(options["priority"]),
            "correlation_id": options["correlation_id"] or None,
            "idempotency_key": options["idempotency_key"] or None,
            "run_at": options["run_at"] or None,
        }
    )


def _number(text: str) -> Any:
    # What is no number goes on as it is: the request says what is wrong with it, in the words it always uses.
    try:
        return int(text) if text else 0
    except ValueError:
        return text


def _objected(state: Launch, error: RequestError) -> Launch:
    """The same page with each objection at its option, or above the form when it is about none of them."""
    option_errors, errors = {}, []
    for problem in error.problems:
        option = problem.path.partition("[")[0]
        if option in OPTIONS:
            option_errors[option] = sentence(problem.message)
        else:
            errors.append(sentence(f"{problem.path} {problem.message}".strip()))
    return Launch(state.definition, state.form, state.mode, state.options, option_errors, tuple(errors))


def _options() -> dict[str, str]:
    return {name: request.form.get(name, "").strip() for name in OPTIONS}


def _mode() -> str:
    return "json" if RAW in request.form else "fields"


def _context_of(task_id: str | None) -> dict[str, Any] | None:
    if not task_id:
        return None
    try:
        return queries.task(database(), task_id).context
    except NotFound:
        return None


def _page(launch: Launch, status: int = 200, notice: Notice | None = None) -> Response:
    return page("launches/form.html", status=status, notice=notice, launch=launch)
