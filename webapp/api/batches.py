"""`/batches`: one action on all tasks of a filter, or on all steps of a group of failures: shown by a dry run, then done by the engines piece by piece."""

from __future__ import annotations

from typing import Any

from flask import Response
from werkzeug.exceptions import NotFound as NoSuchAddress

from engine import batches
from engine.errors import ChangedSince, Problem, RequestError
from webapp.api import access, shapes
from webapp.api.batch_shapes import (
    ActionBatchDetailSchema,
    ActionBatchSchema,
    BatchesSchema,
    BatchRequestSchema,
    ItemsQuery,
    WouldBeSchema,
    batch,
    item,
)
from webapp.api.blueprint import PREFIX, Endpoints
from webapp.api.bodies import DryRunQuery, ReasonSchema
from webapp.api.chosen import parameters_of
from webapp.batches import EXAMPLES, VERBS, Chosen, choose, require_stopping
from webapp.database import database

READ = "tasker.task:index"

endpoints = Endpoints("batches", "One action on many tasks or steps")


@endpoints.route("/batches")
@endpoints.response(200, BatchesSchema)
@endpoints.may_answer()
def index() -> Response:
    """List the newest batches"""
    return shapes.respond({"batches": [batch(each) for each in batches.batches(database(), namespaces=access.allowed_namespaces(READ))]})


@endpoints.route("/batches/<int:batch_id>")
@endpoints.arguments(ItemsQuery, location="query")
@endpoints.response(200, ActionBatchDetailSchema)
@endpoints.may_answer(404, 422)
def show(asked: dict[str, Any], batch_id: int) -> Response:
    """Show how far a batch is, with its items, those that were refused first"""
    found = batches.batch(database(), batch_id, namespaces=access.allowed_namespaces(READ))
    first, limit = asked["cursor"], asked["limit"]
    items = batches.batch_items(database(), batch_id, after=first, limit=limit + 1)
    return shapes.respond(batch(found) | {"items": [item(each) for each in items[:limit]], "next_cursor": str(first + limit) if len(items) > limit else None})


@endpoints.route("/batches/new/<noun>", methods=["POST"])
@endpoints.arguments(DryRunQuery, location="query")
@endpoints.arguments(BatchRequestSchema)
@endpoints.response(201, ActionBatchSchema, description="The engines are at it")
@endpoints.alt_response(200, schema=WouldBeSchema, description="Of a dry run, what would be done", success=True)
@endpoints.may_answer(400, 404, 412, 413, 415, 422)
def make(asked: dict[str, Any], given: dict[str, Any], noun: str) -> Response:
    """Do one thing to many

    `noun` is retry, cancellation, pause or resumption of the tasks of a filter, or of those of a group of failures; step-retry, step-skip or step-resolution of all
    steps of a group. Ask with `dry_run=true` first: its `count` must still be right when the batch is begun.
    """
    if noun not in VERBS:
        raise NoSuchAddress
    key = f"{access.actor()} {given['idempotency_key']}" if given["idempotency_key"] else None
    if key and (known := batches.batch_of_key(database(), key)) is not None:
        return _made(known)
    chosen = _chosen(noun, given)
    if asked["dry_run"]:
        first = [{"task_id": task, "step_name": step} for task, step in chosen.items[:EXAMPLES]]
        return shapes.respond({"dry_run": True, "action": VERBS[noun].action, "about": chosen.about, "count": len(chosen.items), "items": first})
    if given["count"] is None:
        raise RequestError([Problem("count", "missing", "is required: the count that a dry run has told")])
    if given["count"] != len(chosen.items):
        raise ChangedSince(f"there are {len(chosen.items):,} of them now, not {given['count']:,}, and nothing was done; look again")
    made = batches.make_batch(
        database(), VERBS[noun].action, chosen.items, about=chosen.about, actor=access.actor(), reason=given.get("reason"), key=key, given=given["result"]
    )
    access.note_act("done", given.get("reason"))
    return _made(made)


@endpoints.route("/batches/<int:batch_id>/stop", methods=["POST"])
@endpoints.arguments(ReasonSchema, required=False)
@endpoints.response(200, ActionBatchSchema)
@endpoints.may_answer(400, 404, 409, 413, 415, 422)
def stop(given: dict[str, Any], batch_id: int) -> Response:
    """Leave undone what is not done yet"""
    require_stopping(batch_id)
    batches.stop_batch(database(), batch_id, actor=access.actor())
    access.note_act("done", given.get("reason"))
    return shapes.respond(batch(batches.batch(database(), batch_id)))


def _made(batch_id: int) -> Response:
    return shapes.respond(batch(batches.batch(database(), batch_id)), 201, location=f"{PREFIX}/batches/{batch_id}")


def _chosen(noun: str, given: dict[str, Any]) -> Chosen:
    if (given["filter"] is None) == (given["failure"] is None):
        raise RequestError([Problem("filter", "ambiguous", "give either filter or failure")])
    if given["failure"] is None and VERBS[noun].on_steps:
        raise RequestError([Problem("failure", "missing", "is required: it is done to the steps of a group of failures")])
    return choose(noun, {"failure": given["failure"]} if given["failure"] else parameters_of(given["filter"]))
