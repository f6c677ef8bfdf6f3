"""What goes in and out of `/limits`."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields
from marshmallow.validate import Range

from engine.gates import MOST_AT_ONCE, MOST_PER_PERIOD
from engine.rows import LimitRow
from webapp.api import shapes
from webapp.api.bodies import MAX_NAME, ActionSchema, DryRunQuery
from webapp.api.fields import maybe_text, maybe_time, said, text

FACTS = ("namespace", "name", "changed_by", "changed_at", "change_reason", "taken_count", "waiting_count", "seen")


class StepQuery(Schema):
    step = text(MAX_NAME, load_default=None, metadata=said("The step whose limit is meant; left out: the limit on the workflow's tasks"))


class ChangeQuery(DryRunQuery, StepQuery):
    pass


class ResetSchema(ActionSchema):
    pass


class ChangeSchema(ActionSchema):
    at_once = fields.Integer(strict=True, allow_none=True, validate=Range(0, MOST_AT_ONCE), metadata=said("So many at once; 0: nothing begins, null: any number"))
    per_period = fields.Integer(strict=True, allow_none=True, validate=Range(0, MOST_PER_PERIOD), metadata=said("So many begin within the period; 0: nothing begins, null: any number"))


class LimitSchema(Schema):
    namespace = fields.String(required=True)
    name = fields.String(required=True)
    step = maybe_text()
    at_once = fields.Integer(required=True, allow_none=True)
    per_period = fields.Integer(required=True, allow_none=True)
    period = fields.String(required=True)
    key = maybe_text()
    declared = fields.String(required=True)
    changed_by = maybe_text()
    changed_at = maybe_time()
    change_reason = maybe_text()
    taken_count = fields.Integer(required=True)
    waiting_count = fields.Integer(required=True)
    seen = fields.String(required=True, metadata=said("Another one as soon as the limit is changed; a change that brings it is done only if nobody else was faster"))
    dry_run = fields.Boolean()
    foreseen = fields.String(metadata=said("Of a dry run: what the change would do"))


class LimitedSchema(Schema):
    key = fields.String(required=True)
    task_id = fields.String(required=True)
    step_name = maybe_text()
    state = fields.String(required=True)
    since = maybe_time()


class LimitDetailSchema(LimitSchema):
    holders = fields.List(fields.Nested(LimitedSchema), required=True)
    waiters = fields.List(fields.Nested(LimitedSchema), required=True)


class LimitsSchema(Schema):
    limits = fields.List(fields.Nested(LimitSchema), required=True)


def told(row: LimitRow) -> dict[str, Any]:
    """A limit as the API writes it."""
    limit = row.limit
    numbers = {"step": row.step_name, "at_once": limit.at_once, "per_period": limit.per_period, "period": limit.period_name, "key": limit.key, "declared": str(row.declared)}
    return {name: shapes.plain(getattr(row, name)) for name in FACTS} | numbers
