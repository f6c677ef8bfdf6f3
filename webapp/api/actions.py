"""What an operator can do to a task or a step: nouns that are posted to, each shown by `?dry_run=true` before it is done.

`If-Match` with the ETag of the task or step, or `seen` with the token of a dry run, does it only if nothing has changed since (412).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from flask import Response, request

from engine import actions, queries, steps, tasks
from engine.errors import ChangedSince, RequestError
from engine.rows import Preview
from webapp.api import access, shapes
from webapp.api.answers import DoneSchema, PreviewSchema
from webapp.api.blueprint import Endpoints
from webapp.api.bodies import ActionSchema, DownstreamSchema, DryRunQuery, ResolutionSchema
from webapp.api.reading import from_root
from webapp.api.tasks import ITEMS_SHOWN
from webapp.database import database

STALE = "it has changed since you looked, and nothing was done; look again"
IF_MATCH = {"name": "If-Match", "in": "header", "description": "The ETag of the task or step: only if it has not changed since", "schema": {"type": "string"}}

endpoints = Endpoints("actions", "What an operator can do to tasks and steps")


@dataclass(frozen=True, slots=True)
class Action:
    """An action by the noun of its address: what the engine calls it, and what it does in a line."""

    noun: str
    name: Any
    does: str
    body: type[ActionSchema] = field(default=ActionSchema)
    given: str | None = None


OF_TASK = (
    Action("cancellation", "cancel", "Cancel a task: nothing of it starts any more, and running steps are asked to stop"),
    Action("retry", "retry", "Run every failed step of a task again"),
    Action("pause", "pause", "Pause a task: running steps may end, nothing else starts"),
    Action("resumption", "resume", "Let a paused task go on"),
)
OF_STEP = (
    Action("retry", "retry", "Run a failed step again, or end its back-off"),
    Action("cancellation", "cancel", "Cancel a step and what waits for it"),
    Action("skip", "skip", "Go on without a step"),
    Action("resolution", "resolve", "Supply the result of a step; its children go on with it", ResolutionSchema, "result"),
    Action(
        "downstream-retry", "retry_downstream", "Run a step that has ended and everything below it again", DownstreamSchema, "context"
    ),
)

COMMANDS: Mapping[str, Callable[..., Any]] = {
    "retry": steps.retry_step,
    "cancel": steps.cancel_step,
    "skip": steps.skip_step,
    "resolve": steps.resolve_step,
    "retry_downstream": steps.retry_downstream,
}


def act_on_task(action: Action, query: dict[str, Any], body: dict[str, Any], task_id: UUID) -> Response:
    """Show or do an action on a task."""
    known = (database(), action.name, str(task_id))
    if query["dry_run"]:
        return shapes.respond(shapes.preview(tasks.preview(*known)))
    seen = _seen(body, lambda: tasks.preview(*known), lambda: shapes.task_tag(queries.task(database(), str(task_id), items=ITEMS_SHOWN)))
    state = actions.act(*known, actor=access.actor(), reason=body.get("reason"), seen=seen)
    access.note_act("done", body.get("reason"))
    return shapes.respond({"task_id": str(task_id), "step_name": None, "state": state})


def act_on_step(action: Action, query: dict[str, Any], body: dict[str, Any], task_id: UUID, step_name: str) -> Response:
    """Show or do an action on a step."""
    given = _given(action, body)
    try:
        if query["dry_run"]:
            return shapes.respond(shapes.preview(_preview(action, task_id, step_name, given)))
        tag = lambda: shapes.step_tag(queries.step(database(), str(task_id), step_name))  # noqa: E731
        seen = _seen(body, lambda: _preview(action, task_id, step_name, given), tag)
        state = COMMANDS[action.name](database(), str(task_id), step_name, actor=access.actor(), reason=body.get("reason"), seen=seen, **given)
    except RequestError as error:
        raise RequestError(_of_given(action, error)) from None
    access.note_act("done", body.get("reason"))
    return shapes.respond({"task_id": str(task_id), "step_name": step_name, "state": state})


def _given(action: Action, body: dict[str, Any]) -> dict[str, Any]:
    return {action.given: body[action.given]} if action.given and action.given in body else {}


def _preview(action: Action, task_id: UUID, step_name: str, given: dict[str, Any]) -> Preview:
    return steps.preview(database(), action.name, str(task_id), step_name, **given)


def _seen(body: dict[str, Any], preview: Callable[[], Preview], tag: Callable[[], str]) -> str | None:
    """The token without which the action is not done; None when the caller asks for nothing. Raises `ChangedSince`.

    For If-Match it is taken before the ETag is looked at: what changes after that look is noticed by the action itself.
    """
    seen: str | None = body.get("seen")
    if not request.if_match:
        return seen
    fresh = preview().seen
    if not request.if_match.contains(tag()) or seen not in (None, fresh):
        raise ChangedSince(STALE)
    return fresh


def _of_given(action: Action, error: RequestError) -> Any:
    if action.given is None:
        return error.problems
    root = action.given
    return [type(one)(from_root(one.path, root) if one.path.startswith("$") else one.path or root, one.code, one.message) for one in error.problems]


def _offer(action: Action, rule: str, command: Callable[..., Response]) -> None:
    """Give the action its address and its description."""

    def view(query: dict[str, Any], body: dict[str, Any], **address: Any) -> Response:
        return command(action, query, body, **address)

    view.__doc__ = action.does
    view.__name__ = f"{command.__name__.removeprefix('act_on_')}_{action.noun.replace('-', '_')}"
    view = endpoints.may_answer(400, 404, 409, 412, 413, 415, 422)(view)
    either = {"anyOf": [{"$ref": "#/components/schemas/Done"}, {"$ref": "#/components/schemas/Preview"}]}
    view = endpoints.response(200, either, description="What state it is in now; of a dry run, what would be done")(view)
    view = endpoints.describe(**{"x-headers": [IF_MATCH]})(view)
    view = endpoints.arguments(action.body, required=action.given == "result")(view)
    view = endpoints.arguments(DryRunQuery, location="query")(view)
    endpoints.add_url_rule(f"{rule}/{action.noun}", view.__name__, view, methods=["POST"])


for _action in OF_TASK:
    _offer(_action, "/tasks/<uuid:task_id>", act_on_task)
for _action in OF_STEP:
    _offer(_action, "/tasks/<uuid:task_id>/steps/<step_name>", act_on_step)

SCHEMAS = {"Done": DoneSchema, "Preview": PreviewSchema}
"""Named in the description, as the answers of actions are either of them."""
