"""What goes in: bodies and queries. Those with few fields are checked by these schemas; a task's request is checked by `TaskRequest` itself."""

from __future__ import annotations

from typing import Any

from marshmallow import RAISE, Schema, fields
from marshmallow.validate import Length, OneOf, Range

from engine.errors import Problem, RequestError
from engine.journal import LEVELS
from engine.measures.standing import STUCK
from engine.queries import MAX_PAGE
from engine.requests import MAX_BYPASSED, MAX_KEY, MAX_TAG, MAX_TAGS, MAX_TEXT, PRIORITIES
from engine.timing import POLICIES
from webapp.api.fields import TASK_STATE, Flag, Number, said, text
from webapp.htmx import MAX_REASON
from webapp.task_filter import MAX_TASK_NO
from webapp.task_filter import MAX_TEXT as MAX_FILTER

MAX_BATCH = 1_000
MAX_NAME = 63
MAX_VERSION = 64


# ---- bodies


class StrictSchema(Schema):
    """Nothing that it does not name gets through."""

    class Meta:
        unknown = RAISE


class ObjectSchema(StrictSchema):
    """A body that is checked by who it is for: any JSON object gets through."""

    def load(self, data: Any, **_: Any) -> Any:
        if not isinstance(data, dict):
            raise RequestError([Problem("", "bad_type", "the body must be a JSON object")])
        return data


class TaskRequestSchema(ObjectSchema):
    name = text(MAX_NAME, required=True, metadata=said("The workflow"))
    namespace = text(MAX_NAME, load_default="default")
    version = text(MAX_VERSION, allow_none=True, metadata=said("Left out or null: the highest that is no pre-release"))
    context = fields.Dict(metadata=said("The task's input, which must fit the workflow's schema; its defaults are filled in"))
    initiator = fields.String(allow_none=True, validate=Length(max=MAX_TEXT))
    source_system = fields.String(allow_none=True, validate=Length(max=MAX_TEXT))
    reason = fields.String(allow_none=True, validate=Length(max=MAX_TEXT))
    tags = fields.List(text(MAX_TAG), validate=Length(max=MAX_TAGS))
    priority = fields.Integer(strict=True, load_default=0, validate=Range(PRIORITIES[0], PRIORITIES[-1]), metadata=said("Higher goes first"))
    bypass_steps = fields.List(text(MAX_NAME), validate=Length(max=MAX_BYPASSED), metadata=said("Steps to skip when their turn comes"))
    correlation_id = text(MAX_KEY, allow_none=True, metadata=said("Also the header X-Correlation-ID"))
    idempotency_key = text(MAX_KEY, allow_none=True, metadata=said("A repeated request answers the first task. Also the header Idempotency-Key"))
    run_at = fields.DateTime(allow_none=True, metadata=said("Not before this time; UTC unless it names a zone"))


class BatchSchema(ObjectSchema):
    tasks = fields.List(fields.Nested(TaskRequestSchema), required=True, validate=Length(min=1, max=MAX_BATCH))


class ReasonSchema(StrictSchema):
    reason = fields.String(allow_none=True, validate=Length(max=MAX_REASON), metadata=said("Why; kept in the history"))


class ActionSchema(ReasonSchema):
    seen = text(64, allow_none=True, metadata=said("The token of a dry run: the action is done only if it still does what that showed"))


class ResolutionSchema(ActionSchema):
    result = fields.Raw(required=True, allow_none=True, metadata=said("What the step's children receive; of a decision, the list of the steps that go on"))


class DownstreamSchema(ActionSchema):
    context = fields.Dict(allow_none=True, metadata=said("The task's context from now on, in place of the present one"))


class ScheduleRequestSchema(StrictSchema):
    name = text(MAX_NAME, required=True)
    namespace = text(MAX_NAME, load_default="default")
    version = text(MAX_VERSION, allow_none=True, load_default=None)
    cron = text(200, allow_none=True, load_default=None, metadata=said("Minute, hour, day of month, month, day of week; or every"))
    time_zone = text(100, load_default="UTC", metadata=said("Whose clock cron is read by, such as Europe/Berlin"))
    every = text(40, allow_none=True, load_default=None, metadata=said("An interval such as 15m or 1h30m, instead of cron"))
    context = fields.Dict(load_default=dict)
    policy = fields.String(validate=OneOf(list(POLICIES)), load_default="one", metadata=said("What becomes of runs that no engine was there for"))


# ---- queries


class DryRunQuery(Schema):
    dry_run = Flag(load_default=False, metadata=said("Show what would be done, and do nothing"))


class LimitQuery(Schema):
    limit = Number(load_default=50, validate=Range(1, MAX_PAGE))


class PlaceQuery(LimitQuery):
    cursor = Number(load_default=0, validate=Range(0, MAX_TASK_NO), metadata=said("next_cursor of the page before"))


class TasksQuery(LimitQuery):
    namespace = text(MAX_FILTER)
    name = text(MAX_FILTER)
    version = text(MAX_FILTER)
    state = fields.String(validate=TASK_STATE)
    stuck = fields.String(validate=OneOf(["any", *STUCK]), metadata=said("Why a task does not go on"))
    slower = fields.String(validate=OneOf(["yes"]), metadata=said("Only tasks that run or ran longer than 95 of 100 of their version"))
    tag = text(MAX_FILTER)
    initiator = text(MAX_FILTER)
    q = text(MAX_FILTER, metadata=said("A text in correlation id, initiator, source system or reason, or the beginning of an id"))
    context = text(MAX_FILTER, metadata=said("A value at a place in the context, such as customer.id=42"))
    created_from = text(MAX_FILTER, metadata={"format": "date-time"})
    created_to = text(MAX_FILTER, metadata={"format": "date-time"})
    within = text(MAX_FILTER, metadata=said("No older than this, such as 90m, 24h or 7d"))
    cursor = Number(validate=Range(0, MAX_TASK_NO), metadata=said("next_cursor of the page before"))


class StepsQuery(PlaceQuery):
    items_of = text(MAX_NAME, load_default=None, metadata=said("The items of this map step, instead of the steps"))


class LogQuery(PlaceQuery):
    level = fields.String(validate=OneOf(list(LEVELS)), load_default=None, metadata=said("Lines of this level and above"))
    attempt = Number(validate=Range(1, 32_767), load_default=None)


class NamespaceQuery(Schema):
    namespace = text(MAX_FILTER, load_default=None)


class EventsQuery(LimitQuery):
    cursor = Number(validate=Range(0, MAX_TASK_NO), load_default=None, metadata=said("An event_id: the events after it. Left out: a page begins with the oldest, a stream now"))
    type = text(2_000, load_default=None, metadata=said("Only these types, separated by commas"))
    namespace = text(MAX_FILTER, load_default=None)
