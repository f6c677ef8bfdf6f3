"""`/batches`: one action on all tasks of a filter, or on all their failed steps: shown by a dry run, then done by the engines piece by piece."""

from __future__ import annotations

from typing import Any

from flask import Response
from werkzeug.exceptions import NotFound as NoSuchAddress

from engine import batches, json_text
from engine.batches import Batch, BatchItem
from engine.errors import ChangedSince, KeyReused, NotFound, Problem, RequestError
from engine.finding import failures
from engine.steps import result_text
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
from webapp.batches import EXAMPLES, LOOKED, VERBS, Chosen, choose, require_stopping
from webapp.database import database
from webapp.task_filter import read_filter

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
    their failed steps. What would be refused as it stands is left out, and told by the dry run. Ask with `dry_run=true` first: its `count` must still be right when the batch is begun. An `idempotency_key` that has made another
    batch is refused with `key_reused`.
    """
    if noun not in VERBS:
        raise NoSuchAddress
    key = f"{access.actor()} {given['idempotency_key']}" if given["idempotency_key"] and not asked["dry_run"] else None
    if key and (known := batches.batch_of_key(database(), key)) is not None:
        _require_same(known, noun, given)
        return _made(known)
    chosen = _chosen(noun, given)
    if asked["dry_run"]:
        first = [{"task_id": task, "step_name": step} for task, step in chosen.items[:EXAMPLES]]
        return shapes.respond({"dry_run": True, "action": VERBS[noun].action, "about": chosen.about, "count": len(chosen.items), "is_cut": chosen.is_cut, "items": first, "refused": [{"why": why, "count": count} for why, count in chosen.refused.items()]})
    if given["count"] is None:
        raise RequestError([Problem("count", "missing", "is required: the count that a dry run has told")])
    if given["count"] != len(chosen.items):
        raise ChangedSince(f"there are {len(chosen.items):,} of them now, not {given['count']:,}, and nothing was done; look again")
    made = batches.make_batch(
        database(), VERBS[noun].action, chosen.items, about=chosen.about, actor=access.actor(), reason=given.get("reason"), key=key, given=given["result"]
    )
    if key:
        _require_same(made, noun, given)  # of two requests with the key at once, one is answered the batch of the other
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


def _require_same(batch_id: int, noun: str, given: dict[str, Any]) -> None:
    """The batch is what this request asks for, as far as is on record. Raises `KeyReused`, and `RequestError` for what no batch can be."""
    _require_choice(noun, given)
    found, [first] = batches.batch(database(), batch_id), batches.batch_items(database(), batch_id, limit=1)
    same_act = (found.action, first.step_name is not None) == (VERBS[noun].action, VERBS[noun].on_steps)
    if not same_act or not _is_about(found.about, given) or not _gives(found, first, given["result"]):
        raise KeyReused(f"the key was used for batch {batch_id}, which is another one: {found.action}, {found.about}")


def _is_about(about: str, given: dict[str, Any]) -> bool:
    """Whether a batch that says so of itself was chosen like this. Of a group of failures its step must be the same: the words for their cause may change, and when nothing is failed any more nobody can tell."""
    if given["failure"] is None:
        parameters = read_filter(parameters_of(given["filter"])).chosen.parameters()
        return about.partition(": ")[2].partition(LOOKED)[0] == (", ".join(f"{name} {value}" for name, value in parameters.items()) or "all tasks")
    try:
        group = failures.failure_group(database(), given["failure"])
    except NotFound:
        return True
    return about.startswith(f"{group.namespace}/{group.name} {group.step_name}: ")


def _gives(found: Batch, item: BatchItem, result: Any) -> bool:
    """Whether the batch resolves its steps with that result."""
    if found.action != "resolve" or item.step_name is None:
        return True
    kept = database().value("select b.given from tasker_batch b where b.batch_id = %(batch)s", {"batch": found.batch_id})
    return bool(kept == result or kept == json_text.load(result_text(database(), item.task_id, item.step_name, result)))


def _chosen(noun: str, given: dict[str, Any]) -> Chosen:
    _require_choice(noun, given)
    return choose(noun, {"failure": given["failure"]} if given["failure"] else parameters_of(given["filter"]))


def _require_choice(noun: str, given: dict[str, Any]) -> None:
    if (given["filter"] is None) == (given["failure"] is None):
        raise RequestError([Problem("filter", "ambiguous", "give either filter or failure")])
