"""What goes in and out of `/batches`."""

from __future__ import annotations

from typing import Any, get_args

from marshmallow import Schema, fields
from marshmallow.validate import Length, OneOf, Range

from engine.batches import LISTED, MOST_ITEMS, Batch, BatchAction, BatchItem
from engine.requests import MAX_KEY
from webapp.api import shapes
from webapp.api.bodies import ReasonSchema
from webapp.api.chosen import ChosenTasksSchema
from webapp.api.fields import Number, maybe_text, maybe_time, names, said, text

BATCH = ("batch_id", "action", "about", "namespaces", "actor", "reason", "item_count", "done_count", "refused_count", "left_count", "created_at", "finished_at", "stopped_by")
ITEM = ("item_no", "task_id", "step_name", "outcome", "message")


class BatchRequestSchema(ReasonSchema):
    filter = fields.Nested(ChosenTasksSchema, load_default=None, allow_none=True, metadata=said("All tasks that it holds, as `GET /tasks` lists them; {} is every task"))
    failure = text(200, load_default=None, allow_none=True, metadata=said("Instead of a filter: the `key` of a group of failures"))
    count = fields.Integer(strict=True, load_default=None, allow_none=True, validate=Range(0), metadata=said("How many items a dry run has told of; with more or fewer nothing is done. Needed for all but a dry run"))
    result = fields.Raw(load_default=None, allow_none=True, metadata=said("What step-resolution gives to each step"))
    idempotency_key = fields.String(load_default=None, allow_none=True, validate=Length(min=1, max=MAX_KEY), metadata=said("A repeated request answers the first batch"))


class ItemsQuery(Schema):
    limit = Number(load_default=LISTED, validate=Range(1, 1_000))
    cursor = Number(load_default=0, validate=Range(0, MOST_ITEMS), metadata=said("next_cursor of the page before"))


class ActionBatchSchema(Schema):
    batch_id = fields.Integer(required=True)
    action = fields.String(required=True, validate=OneOf(get_args(BatchAction)))
    about = fields.String(required=True)
    namespaces = names()
    actor = fields.String(required=True)
    reason = maybe_text()
    item_count = fields.Integer(required=True)
    done_count = fields.Integer(required=True)
    refused_count = fields.Integer(required=True)
    left_count = fields.Integer(required=True)
    created_at = fields.DateTime(required=True)
    finished_at = maybe_time()
    stopped_by = maybe_text()


class BatchItemSchema(Schema):
    item_no = fields.Integer(required=True)
    task_id = fields.UUID(required=True)
    step_name = maybe_text()
    outcome = maybe_text()
    message = maybe_text()


class ActionBatchDetailSchema(ActionBatchSchema):
    items = fields.List(fields.Nested(BatchItemSchema), required=True)
    next_cursor = maybe_text()


class BatchesSchema(Schema):
    batches = fields.List(fields.Nested(ActionBatchSchema), required=True)


class WouldBeItemSchema(Schema):
    task_id = fields.UUID(required=True)
    step_name = maybe_text()


class WouldBeRefusedSchema(Schema):
    why = fields.String(required=True)
    count = fields.Integer(required=True)


class WouldBeSchema(Schema):
    dry_run = fields.Boolean(required=True)
    action = fields.String(required=True, validate=OneOf(get_args(BatchAction)))
    about = fields.String(required=True)
    count = fields.Integer(required=True, metadata=said("To be sent with the request that does it"))
    is_cut = fields.Boolean(required=True, metadata=said("Whether older ones are left out, or may be, as `about` says"))
    items = fields.List(fields.Nested(WouldBeItemSchema), required=True, metadata=said("The first of them"))
    refused = fields.List(fields.Nested(WouldBeRefusedSchema), required=True, metadata=said("Which others are chosen, but would be refused as they stand: they are not in the batch"))


def batch(found: Batch) -> dict[str, Any]:
    """A batch as the API writes it."""
    return {name: shapes.plain(getattr(found, name)) for name in BATCH}


def item(found: BatchItem) -> dict[str, Any]:
    """One item of it."""
    return {name: getattr(found, name) for name in ITEM}
