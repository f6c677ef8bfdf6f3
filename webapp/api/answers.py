"""What comes out, as the description of the API tells it; `shapes` writes it."""

from __future__ import annotations

from marshmallow import Schema, fields
from marshmallow.validate import Length, OneOf

from engine.journal import LEVELS
from engine.timing import POLICIES
from webapp.api.fields import STEP_STATE, TASK_STATE, maybe_text, maybe_time, names, said


class ProblemSchema(Schema):
    path = fields.String(required=True, metadata=said("The place in the body or the query, such as context.order_id; empty for the whole request"))
    code = fields.String(required=True, metadata=said("One word for programs, such as missing or wrong_state"))
    message = fields.String(required=True, metadata=said("One sentence for people"))


class ErrorsSchema(Schema):
    errors = fields.List(fields.Nested(ProblemSchema), required=True, validate=Length(min=1))


class StepErrorSchema(Schema):
    type = maybe_text()
    message = maybe_text()
    code = fields.Raw(required=True, allow_none=True)


class ProgressSchema(Schema):
    done = fields.Float(required=True)
    total = fields.Float(required=True, allow_none=True)
    note = maybe_text()
    at = fields.DateTime(required=True)


class StepSchema(Schema):
    step_id = fields.Integer(required=True)
    step_no = fields.Integer(required=True)
    name = fields.String(required=True)
    state = fields.String(required=True, validate=STEP_STATE)
    kind = fields.String(required=True, validate=OneOf(["step", "decision", "map", "item"]))
    attempts = fields.Integer(required=True)
    retry_limit = fields.Integer(required=True)
    parents = names()
    children = names()
    satisfied_parents = fields.Integer(required=True)
    waiting_for = fields.String(required=True)
    started_at = maybe_time()
    finished_at = maybe_time()
    next_retry_at = maybe_time()
    duration_seconds = fields.Float(required=True, allow_none=True)
    engine = maybe_text()
    bypass = fields.Boolean(required=True)
    passed_over = fields.Boolean(required=True)
    item_of = maybe_text()
    item_no = fields.Integer(required=True, allow_none=True)
    item_states = fields.Dict(required=True, allow_none=True, values=fields.Integer())
    error = fields.Nested(StepErrorSchema, required=True, allow_none=True)
    progress = fields.Nested(ProgressSchema, required=True, allow_none=True)


class StepWithResultSchema(StepSchema):
    result = fields.Raw(required=True, allow_none=True)


class AttemptSchema(Schema):
    attempt = fields.Integer(required=True)
    state = fields.String(required=True)
    started_at = fields.DateTime(required=True)
    finished_at = maybe_time()
    duration_seconds = fields.Float(required=True, allow_none=True)
    engine = maybe_text()
    error = fields.Nested(StepErrorSchema, required=True, allow_none=True)


class TemplateSchema(Schema):
    name = fields.String(required=True)
    description = fields.String(required=True)
    kind = fields.String(required=True, validate=OneOf(["step", "decision", "map"]))
    handler = maybe_text()
    retryable = fields.Boolean(required=True)
    retry_limit = fields.Integer(required=True)
    timeout_ms = fields.Integer(required=True, allow_none=True)
    backoff = fields.Dict(required=True)
    output_schema = fields.Dict(required=True, allow_none=True)
    handler_config = fields.Dict(required=True)
    for_each = maybe_text()
    resources = fields.Dict(required=True)
    needs = names()
    limit = maybe_text()


class StepDetailSchema(StepWithResultSchema):
    task_id = fields.UUID(required=True)
    parent_results = fields.Dict(required=True)
    item = fields.Raw(required=True, allow_none=True)
    executions = fields.List(fields.Nested(AttemptSchema), required=True)
    template = fields.Nested(TemplateSchema, required=True)


class TaskSchema(Schema):
    task_id = fields.UUID(required=True)
    namespace = fields.String(required=True)
    name = fields.String(required=True)
    version = fields.String(required=True)
    state = fields.String(required=True, validate=TASK_STATE)
    paused = fields.Boolean(required=True)
    priority = fields.Integer(required=True)
    tags = names()
    initiator = maybe_text()
    correlation_id = maybe_text()
    created_at = fields.DateTime(required=True)
    started_at = maybe_time()
    finished_at = maybe_time()
    run_at = maybe_time()
    step_count = fields.Integer(required=True)
    done_count = fields.Integer(required=True, metadata=said("Steps that let their children go on"))
    failed_count = fields.Integer(required=True)


class TaskDetailSchema(TaskSchema):
    context = fields.Dict(required=True)
    reason = maybe_text()
    source_system = maybe_text()
    cancel_requested_at = maybe_time()
    parent_task_id = fields.UUID(required=True, allow_none=True)
    parent_step = maybe_text()
    steps = fields.Dict(keys=fields.String(), values=fields.Nested(StepWithResultSchema), required=True, metadata=said("By name; of a map step the first 200 items"))


class CreatedSchema(Schema):
    task_id = fields.UUID(required=True)
    namespace = fields.String(required=True)
    name = fields.String(required=True)
    version = fields.String(required=True)
    created = fields.Boolean(required=True, metadata=said("false: a task with this idempotency key was there before"))


class CreatedBatchSchema(Schema):
    tasks = fields.List(fields.Nested(CreatedSchema), required=True)


class PageSchema(Schema):
    next_cursor = fields.String(required=True, allow_none=True, metadata=said("The cursor of the next page; null on the last"))


class TaskPageSchema(PageSchema):
    tasks = fields.List(fields.Nested(TaskSchema), required=True)
    looked_at = fields.Integer(required=True, allow_none=True, metadata=said("How many tasks were searched, when that may not be all; older ones follow by the cursor"))


class StepPageSchema(PageSchema):
    steps = fields.List(fields.Nested(StepSchema), required=True)


class LineSchema(Schema):
    line_no = fields.Integer(required=True)
    step_name = fields.String(required=True)
    attempt = fields.Integer(required=True)
    at = fields.DateTime(required=True)
    level = fields.String(required=True, validate=OneOf(list(LEVELS)))
    message = fields.String(required=True)
    fields_ = fields.Dict(required=True, allow_none=True, data_key="fields")


class LinePageSchema(PageSchema):
    lines = fields.List(fields.Nested(LineSchema), required=True)


class DoneSchema(Schema):
    task_id = fields.UUID(required=True)
    step_name = maybe_text()
    state = fields.String(required=True, metadata=said("The state of the step, or of the task, afterwards"))


class TaskEffectSchema(Schema):
    from_state = fields.String(required=True)
    to_state = fields.String(required=True)
    effect = fields.String(required=True)


class StepEffectSchema(TaskEffectSchema):
    name = fields.String(required=True)


class PreviewSchema(Schema):
    dry_run = fields.Boolean(required=True)
    action = fields.String(required=True)
    step_name = maybe_text()
    task = fields.Nested(TaskEffectSchema, required=True)
    steps = fields.List(fields.Nested(StepEffectSchema), required=True)
    seen = fields.String(required=True, metadata=said("Send it with the action, and it is done only if it still does this"))


class NamespaceSchema(Schema):
    name = fields.String(required=True)
    description = fields.String(required=True)
    workflow_count = fields.Integer(required=True)


class WorkflowSchema(Schema):
    namespace = fields.String(required=True)
    name = fields.String(required=True)
    description = fields.String(required=True)
    versions = names()
    task_count = fields.Integer(required=True)
    open_task_count = fields.Integer(required=True)
    failed_task_count = fields.Integer(required=True)
    last_task_at = maybe_time()


class NamespacesSchema(Schema):
    namespaces = fields.List(fields.Nested(NamespaceSchema), required=True)


class WorkflowsSchema(Schema):
    workflows = fields.List(fields.Nested(WorkflowSchema), required=True)


class DefinitionStepSchema(TemplateSchema):
    parents = names()
    children = names()


class DefinitionSchema(Schema):
    namespace = fields.String(required=True)
    name = fields.String(required=True)
    version = fields.String(required=True)
    description = fields.String(required=True)
    schema = fields.Raw(required=True, allow_none=True, metadata=said("The JSON Schema of the context, null when there is none"))
    created_at = fields.DateTime(required=True)
    steps = fields.List(fields.Nested(DefinitionStepSchema), required=True)


class TimingSchema(Schema):
    kind = fields.String(required=True, validate=OneOf(["cron", "interval"]))
    expression = fields.String(required=True)
    time_zone = fields.String(required=True)
    words = fields.String(required=True)


class ScheduledTaskSchema(Schema):
    task_id = fields.UUID(required=True)
    state = fields.String(required=True, validate=TASK_STATE)
    created_at = fields.DateTime(required=True)


class ScheduleSchema(Schema):
    schedule_id = fields.Integer(required=True)
    namespace = fields.String(required=True)
    name = fields.String(required=True)
    version = maybe_text()
    timing = fields.Nested(TimingSchema, required=True)
    policy = fields.String(required=True, validate=OneOf(list(POLICIES)))
    context = fields.Dict(required=True)
    paused = fields.Boolean(required=True)
    next_run_at = maybe_time()
    last_run_at = maybe_time()
    last_error = maybe_text()
    refused_count = fields.Integer(required=True, metadata=said("Runs whose task was refused, since it was added"))
    missed_count = fields.Integer(required=True, metadata=said("Runs that made no task of their own since no engine was there in time"))
    created_by = maybe_text()
    created_at = fields.DateTime(required=True)
    changed_by = maybe_text()
    changed_at = maybe_time()
    change_reason = maybe_text()
    recent = fields.List(fields.Nested(ScheduledTaskSchema), required=True)


class SchedulesSchema(Schema):
    schedules = fields.List(fields.Nested(ScheduleSchema), required=True)


class MadeTaskSchema(Schema):
    task_id = fields.UUID(required=True)


class EngineSchema(Schema):
    name = fields.String(required=True)
    runner = fields.String(required=True)
    concurrency = fields.Integer(required=True)
    started_at = fields.DateTime(required=True)
    seen_at = fields.DateTime(required=True)
    alive = fields.Boolean(required=True)
    draining = fields.Boolean(required=True)
    definitions = names()
    labels = names()


class EnginesSchema(Schema):
    engines = fields.List(fields.Nested(EngineSchema), required=True)


class EventSchema(Schema):
    event_id = fields.Integer(required=True)
    type = fields.String(required=True)
    timestamp = fields.DateTime(required=True)
    task_id = fields.UUID(required=True)
    namespace = fields.String(required=True)
    task_name = fields.String(required=True)
    version = fields.String(required=True)
    context = fields.Dict(required=True)
    correlation_id = maybe_text()
    step_name = maybe_text()
    attempt = fields.Integer(required=True, allow_none=True)
    duration = fields.Integer(required=True, allow_none=True, metadata=said("Milliseconds"))
    result = fields.Raw(required=True, allow_none=True)
    error = fields.Nested(StepErrorSchema, required=True, allow_none=True)
    data = fields.Raw(required=True, allow_none=True)


class EventPageSchema(Schema):
    events = fields.List(fields.Nested(EventSchema), required=True)
    next_cursor = fields.String(required=True, metadata=said("Ask again with it: for the events that follow, or for those to come"))
