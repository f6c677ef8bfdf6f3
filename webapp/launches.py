"""`/workflows/<ns>/<name>/<version>/launch`: the form that makes a task, field by field or as one JSON text."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass, field, replace
from typing import Any

from flask import Blueprint, Response, current_app, flash, make_response, redirect, request, url_for
from werkzeug.datastructures import MultiDict

from engine import presets, queries, tasks
from engine.errors import KeyReused, NotFound, RequestError
from engine.hiding import redaction
from engine.requests import TaskRequest
from engine.rows import DefinitionRow, TaskRow
from webapp.access import note, require, require_task
from webapp.commands import Command, command_line, curl, python_code
from webapp.database import database
from webapp.filters import keep_zone_of_form, local_text, read_local, sentence
from webapp.form_parts import AS_JSON, VALUE, child
from webapp.forms import LaunchForm, launch_form
from webapp.htmx import Notice, asks_for_regions, page
from webapp.request_log import correlation_id
from webapp.security import actor

API_TASKS = "/api/v1/tasks"
OPTIONS = ("reason", "tags", "priority", "bypass_steps", "correlation_id", "idempotency_key", "run_at")
RESERVED = (*OPTIONS, "from_task", "preset", "mode")
SHEET = re.compile(r"[\w-]{16,64}", re.ASCII)
RAW = "context"  # the entry of webapp.forms that holds the whole context as JSON

blueprint = Blueprint("launches", __name__)


@dataclass(frozen=True, slots=True)
class Launch:
    """The page in one state: the form of the context, the options as typed, what is wrong with them, and what was asked about it."""

    definition: DefinitionRow
    form: LaunchForm
    mode: str = "fields"
    options: dict[str, str] = field(default_factory=lambda: dict.fromkeys(OPTIONS, ""))
    option_errors: dict[str, str] = field(default_factory=dict)
    errors: tuple[str, ...] = ()
    preset: str = ""
    sheet: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    """The name of this one form: sent twice, by a double click or a reload, it makes one task."""
    left_out: tuple[str, ...] = ()
    """What an earlier task kept secret, so that it has to be typed again."""
    key_holder: TaskRow | None = None
    commands: tuple[Command, ...] = ()


@blueprint.get("/workflows/<namespace>/<name>/<version>/launch")
def form(namespace: str, name: str, version: str) -> Response:
    """The form with what the query brings: `from_task=<id>` or `preset=<name>`, options and fields by their names."""
    definition = queries.shown_definition(database(), namespace, name, version)
    options = {option: request.args.get(option, "") for option in OPTIONS}
    options["run_at"] = _typed_time(options["run_at"])
    context, notice = None, None
    try:
        context = _earlier_context(definition, options)
    except NotFound as error:
        notice = Notice("refused", f"{sentence(error)} The form holds its defaults.")
    given = _given_fields(definition, context)
    initial = context if given is None else given
    launch = _launch(definition, request.args.get("mode", ""), redaction.without_masks(initial))
    left_out = tuple(".".join(place) or "context" for place in redaction.mask_places(initial))
    return _page(replace(launch, options=options, preset=request.args.get("preset", ""), left_out=left_out), 200, notice)


@blueprint.post("/workflows/<namespace>/<name>/<version>/launch")
def launch(namespace: str, name: str, version: str) -> Response:
    """Make the task and go to its page; the form again when one of its buttons was pressed or something is wrong."""
    keep_zone_of_form()
    definition = queries.shown_definition(database(), namespace, name, version)
    sent = launch_form(definition.schema, request.form)
    wanted = request.form.get("_mode")
    if wanted and wanted != _mode():
        return _switched(definition, sent, wanted)
    state = _kept_sheet(Launch(definition, sent, _mode(), _options(), preset=request.form.get("preset", "").strip()))
    if sent.changed:
        return _page(state)
    pressed = next((answer for button, answer in BUTTONS.items() if button in request.form), None)
    if pressed:
        return pressed(state)
    return _made(state) if sent.validate() else _page(state, 422)


def _kept_sheet(state: Launch) -> Launch:
    sheet = request.form.get("sheet", "")
    return replace(state, sheet=sheet) if SHEET.fullmatch(sheet) else state


def _earlier_context(definition: DefinitionRow, options: dict[str, str]) -> dict[str, Any] | None:
    """The context of the task or preset that the query names, and the task's tags, priority and correlation id where the query has none.

    Secrets are masked in it: who launches with one types it again. Raises `NotFound`.
    """
    task_id, preset = request.args.get("from_task"), request.args.get("preset")
    if preset:
        return presets.preset_context(database(), definition.namespace, definition.name, preset)
    if not task_id:
        return None
    require_task("tasker.task:show", task_id)
    earlier = queries.task(database(), task_id)
    options["tags"] = options["tags"] or ", ".join(earlier.task.tags)
    options["priority"] = options["priority"] or str(earlier.task.priority or "")
    options["correlation_id"] = options["correlation_id"] or earlier.task.correlation_id or ""
    context: dict[str, Any] = earlier.context
    return context


def _given_fields(definition: DefinitionRow, context: dict[str, Any] | None) -> dict[str, Any] | None:
    """The context with the fields in it that the query gives, `?order_id=7`; None when it gives none.

    Text that begins as a JSON object or list is read as that, so that `?lines=[{"sku":"a"}]` works too.
    """
    names = (definition.schema or {}).get("properties") or {}
    entries: dict[str, str] = {}
    for name in names:
        if name in request.args and name not in RESERVED:
            at, text = child("", name), request.args[name]
            entries |= {VALUE + at: text} | ({AS_JSON + at: "1"} if text.lstrip()[:1] in ("{", "[") else {})
    if not entries:
        return None
    read = launch_form(definition.schema, MultiDict(entries)).context()
    start = launch_form(definition.schema).context() if context is None else context
    return start | {name: value for name, value in read.items() if VALUE + child("", name) in entries}


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
        return _page(_kept_sheet(Launch(definition, sent, "json", _options())), 422)
    context = sent.context()
    other = _raw_form(definition, context) if mode == "json" else launch_form(definition.schema, None, context)
    return _page(_kept_sheet(Launch(definition, other, mode, _options())))


def _checked(state: Launch) -> Response:
    """The form again, saying which task the idempotency key leads to."""
    definition, key = state.definition, state.options["idempotency_key"]
    if not key:
        return _page(replace(state, option_errors={"idempotency_key": "Type the key to be checked."}), 422)
    holder = queries.key_holder(database(), definition.namespace, definition.name, key.replace("\x00", ""))
    if holder is None:
        return _page(state, 200, Notice("done", f'Nobody has used the key "{key[:100]}": this launch would make a new task.'))
    return _page(replace(state, key_holder=holder))


def _written(state: Launch) -> Response:
    """The form again, with the launch as commands to be copied; first it has to be one that could be made."""
    if not state.form.validate():
        return _page(state, 422)
    try:
        wanted = _request(state)
    except RequestError as error:
        return _page(_objected(state, error), 422)
    written = [command_line(wanted), python_code(wanted)]
    if any(rule.rule == API_TASKS for rule in current_app.url_map.iter_rules()):
        written.insert(1, curl(wanted, request.root_url.rstrip("/") + API_TASKS))
    return _page(replace(state, commands=tuple(written)))


def _kept(state: Launch) -> Response:
    """The form again; what it holds is a preset now, complete or not."""
    definition = state.definition
    require("tasker.workflow:update", definition.namespace)
    try:
        given = redaction.without_masks(redaction.masked(state.form.context(), queries.definition(database(), definition.namespace, definition.name, definition.version).schema))
        presets.keep_preset(database(), definition.namespace, definition.name, state.preset, given, actor=actor())
        _note_preset(state, "keep")
    except RequestError as error:
        return _page(_objected(state, error), 422)
    return _page(state, 200, Notice("done", f'Kept as the preset "{state.preset}".'))


def _note_preset(state: Launch, act: str) -> None:
    definition = state.definition
    note("done", "tasker.workflow:update", definition.namespace, f"preset {state.preset} of {definition.namespace}/{definition.name}", detail={"act": act})


def _removed(state: Launch) -> Response:
    """The form again, without the preset it was filled from."""
    definition = state.definition
    require("tasker.workflow:update", definition.namespace)
    try:
        presets.remove_preset(database(), definition.namespace, definition.name, state.preset)
        _note_preset(state, "remove")
    except NotFound as error:
        return _page(state, 404, Notice("refused", sentence(error)))
    return _page(replace(state, preset=""), 200, Notice("done", f'The preset "{state.preset}" is removed.'))


BUTTONS = {"_check": _checked, "_show": _written, "_keep": _kept, "_remove_preset": _removed}


def _made(state: Launch) -> Response:
    key = state.options["idempotency_key"]
    try:
        wanted = _request(state)
        [(task_id, is_new)] = tasks.create_tasks(database(), [wanted if key else replace(wanted, idempotency_key=f"form:{state.sheet}")])
    except RequestError as error:
        return _page(_objected(state, error), 422)
    except KeyReused as error:
        return _page(state, 422, Notice("refused", sentence(error))) if key else _changed_since(state)
    if is_new:
        note("done", "tasker.task:create", state.definition.namespace, f"task {task_id}", wanted.reason, {"act": "launch"})
    else:
        flash(f"{'The idempotency key was used' if key else 'This form was sent'} before: this is the task it made. Nothing new was launched.", "refused")
    return _go_to(url_for("tasks.show", task_id=task_id))


def _changed_since(state: Launch) -> Response:
    words = "This form has launched a task already, and holds something else now. Nothing new was launched: press Launch again for another task."
    return _page(replace(state, sheet=secrets.token_urlsafe(16)), 409, Notice("refused", words))


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
            "tags": _names(options["tags"]),
            "bypass_steps": _names(options["bypass_steps"]),
            "priority": _number(options["priority"]),
            "correlation_id": options["correlation_id"] or correlation_id(),
            "idempotency_key": options["idempotency_key"] or None,
            "run_at": _moment(options["run_at"]) or None,
        }
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _number(text: str) -> Any:
    # What is no number goes on as it is: the request says what is wrong with it, in the words it always uses.
    try:
        return int(text) if text else 0
    except ValueError:
        return text


def _moment(text: str) -> str:
    # What is no time goes on as it is, for the same reason.
    try:
        return read_local(text).isoformat()
    except (ValueError, OverflowError):
        return text


def _typed_time(text: str) -> str:
    """As the field has it, where the query names a moment in a zone of its own."""
    try:
        return local_text(read_local(text))
    except (ValueError, OverflowError):
        return text


def _objected(state: Launch, error: RequestError) -> Launch:
    """The same page with each objection at its option, or above the form when it is about none of them."""
    option_errors, errors = {}, []
    for problem in error.problems:
        option = problem.path.partition("[")[0]
        if option in (*OPTIONS, "preset"):
            option_errors[option] = sentence(problem.message)
        else:
            errors.append(sentence(f"{problem.path} {problem.message}".strip()))
    return replace(state, option_errors=option_errors, errors=tuple(errors))


def _options() -> dict[str, str]:
    return {name: request.form.get(name, "").strip() for name in OPTIONS}


def _mode() -> str:
    return "json" if RAW in request.form else "fields"


def _page(launch: Launch, status: int = 200, notice: Notice | None = None) -> Response:
    definition = launch.definition
    known = presets.presets(database(), definition.namespace, definition.name)
    return page("launches/form.html", status=status, notice=notice, launch=launch, presets=known)
