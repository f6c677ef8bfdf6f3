-- source: schema/10_states.sql 17935369a9d9
-- The words of a life: every state is a small number in the tables and a word everywhere else.
--   step: 0 pending    waits for its parents
--         1 ready      may run now; has exactly one row in tasker_ready
--         2 running    leased to one engine; counts as an attempt from here on
--         3 retrying   waits for its back-off; has exactly one row in tasker_delayed
--         4 completed  the handler returned
--         5 failed     permanent error, or every attempt used up; only an operator leads out
--         6 cancelled  an operator stopped it
--         7 skipped    bypassed on request or by an operator; children go on
--         8 resolved   an operator supplied the outcome; counts as completed
--   task: 0 pending, 2 running, 4 completed, 5 failed, 6 cancelled, 8 resolved, with the same numbers.

create sequence tasker_task_no;

-- source: schema/20_definitions.sql 7db01f090fc4
-- What may run: namespaces, task definitions and their step templates.

create table tasker_namespace (
  namespace    text primary key,
  description  text not null default '',
  retention    interval check (retention > interval '0'),   -- how long a task is kept after its end; null: for ever
  retention_set_by  text,
  retention_set_at  timestamptz              -- null: never set for this namespace, which follows the default; see tasker_retentions
);

-- what namespaces follow that have no retention of their own; at most one row
create table tasker_retention_default (
  only_row   boolean primary key default true check (only_row),
  retention  interval check (retention > interval '0'),   -- null: for ever
  set_by     text,
  set_at     timestamptz not null
);

create table tasker_definition (
  definition_id  int generated always as identity primary key,
  namespace      text not null references tasker_namespace,
  name           text not null,
  version        text not null,
  version_rank   text not null,             -- sorts as bytes in semantic order, see tasker_version_rank
  prerelease     boolean not null,          -- never chosen unless named
  description    text not null default '',
  schema         json,                      -- JSON Schema of the context, its properties in the author's order; null accepts any object
  fingerprint    text not null,             -- sha-256 of the definition's canonical JSON
  content        jsonb not null default '{}',   -- what the fingerprint is made of, to tell what differs; {}: whoever made it known did not say
  step_count     int not null check (step_count > 0),
  used           boolean not null default false,   -- a task was made from it: from now on immutable
  created_at     timestamptz not null,
  unique (namespace, name, version)
);

create table tasker_template (
  definition_id   int not null references tasker_definition on delete cascade,
  step_no         int not null check (step_no >= 0),   -- topological: a parent's number is smaller than its child's
  name            text not null,
  description     text not null default '',
  handler         text,                     -- what to call, for people to read; null completes at once
  parents         int[] not null,
  children        int[] not null,
  decision        boolean not null default false,   -- its result names the children that go on
  for_each        int,                      -- a map step: the step whose result holds the list of its items; null: an ordinary step
  for_each_path   text[] not null default '{}',     -- where in that result the list is
  retryable       boolean not null,
  retry_limit     int not null check (retry_limit between 1 and 1000),  -- attempts in all, the first included
  timeout_ms      bigint check (timeout_ms > 0),
  backoff_base        float8 not null check (backoff_base >= 0),        -- seconds
  backoff_multiplier  float8 not null check (backoff_multiplier >= 1),
  backoff_cap         float8 not null check (backoff_cap >= 0),         -- seconds
  backoff_jitter      float8 not null check (backoff_jitter between 0 and 1),  -- share of the wait
  labels          text[] not null default '{}',   -- what an engine must have to run it, sorted
  gated           boolean not null default false,   -- it has labels or a limit, or is where a limited workflow begins: see 87_gates.sql
  output_schema   jsonb,
  handler_config  jsonb,
  resources       jsonb not null default '{}',   -- what it needs of a worker beyond the engine's machine: name to amount
  primary key (definition_id, step_no),
  check (for_each is null or not decision)
);
-- names are unique within a definition. An expression, not columns: on a table whose statistics are from when it was empty, a plan would as
-- gladly walk all of a definition by an index of (definition_id, name) as find one step by the key
create unique index tasker_template_name on tasker_template ((definition_id::text || ' ' || name));

-- source: schema/30_tasks.sql dc8be30dd119
-- What runs: tasks, their steps, and the two queues a waiting step can stand in.
-- No foreign keys here: rows are only made and removed by our functions, and the checks would halve the speed.

create table tasker_task (
  task_no        bigint primary key default nextval('tasker_task_no'),
  task_id        uuid not null default gen_random_uuid() unique,
  definition_id  int not null,
  state          smallint not null default 0 check (state in (0, 2, 4, 5, 6, 8)),
  paused         boolean not null default false,
  remaining      int not null,              -- counted steps that have not ended; 0 settles the task
  failed_count     int not null default 0,  -- steps now failed
  cancelled_count  int not null default 0,  -- steps now cancelled
  item_count       int not null default 0,  -- steps that map steps have made; they bear the numbers -1 down to -item_count
  priority       smallint not null default 0,
  context        jsonb not null,
  context_since  bigint,                    -- the move of the history with which it got this context, in which the one before it stands; null: it began with it
  tags           text[] not null default '{}',
  initiator      text,
  source_system  text,
  reason         text,
  correlation_id text,
  traceparent    text,                      -- the span of a caller, as W3C writes it, whose trace the task belongs to
  parent_task_id uuid,                      -- the task whose step submitted it, which may be gone since
  parent_step    text,
  run_at         timestamptz,               -- not before; null starts at once
  created_at     timestamptz not null,
  started_at     timestamptz,
  finished_at    timestamptz,
  cancel_requested_at  timestamptz,
  check ((finished_at is not null) = (state in (4, 5, 6, 8)))
) with (fillfactor = 70);

-- lists: open tasks, failed tasks, tasks of one definition; every predicate column is one the fast path leaves alone until the end
create index tasker_task_open on tasker_task (task_no) where finished_at is null;
create index tasker_task_failed on tasker_task (task_no) where failed_count > 0;
create index tasker_task_of_definition on tasker_task (definition_id, task_no);
create index tasker_task_correlation on tasker_task (correlation_id) where correlation_id is not null;
create index tasker_task_parent on tasker_task (parent_task_id, task_no) where parent_task_id is not null;
create index tasker_task_tags on tasker_task using gin (tags) where tags <> '{}';

create table tasker_step (
  task_no       bigint not null,
  step_no       int not null,               -- a parent's is below its child's, so those of items are below 0
  definition_id int not null,
  pending       int not null,               -- parents that do not satisfy it yet
  state         smallint not null check (state between 0 and 8),
  attempts      smallint not null default 0,
  retry_limit   smallint not null,
  counted       boolean not null,           -- its end is counted in tasker_task.remaining: every leaf; every open step once something failed
  bypass        boolean not null default false,   -- becomes skipped when its parents are done
  paused        boolean not null default false,   -- the task is paused: it may become ready, but is parked
  cancel_requested  boolean not null default false,
  gated         boolean not null default false,   -- when it becomes ready it is parked, until tasker_admit_steps lets it into a lane
  passed_over   boolean not null default false,   -- skipped because no decision chose a way to it
  worker_id     int,                        -- set exactly while running
  started_at    timestamptz,
  finished_at   timestamptz,
  children      int[],                      -- null for a leaf
  result        jsonb,
  error         jsonb check (jsonb_typeof(error) = 'object'),   -- of the last attempt that failed
  first_item    int,                        -- of a map step: the number of its first item; null until it has made them
  item_count    int,                        -- of a map step: how many it made
  map_no        int,                        -- of an item: the map step it belongs to, whose template it follows; null for a step of the definition
  item_no       int,                        -- of an item: its place in the list, from 0
  item          jsonb,                      -- of an item: what it is to work on
  primary key (task_no, step_no),           -- the only index: every state change stays inside its page
  check ((worker_id is not null) = (state = 2))
) with (fillfactor = 60);

-- steps in state ready, in one lane per definition, the best first in each; a claim takes from all lanes that its engine serves, by turns of
-- the namespaces. rank = when it became ready, moved one minute ahead per point of priority, so that a higher priority goes first and a lower
-- one is never starved. What no claim takes stands in lanes below zero.
create table tasker_ready (
  rank           timestamptz not null,
  ready_no       bigint generated always as identity,
  task_no        bigint not null,
  step_no        int not null,
  definition_id  int not null,              -- the lane: the definition's, or one of tasker_lane; negative while parked: the task is paused, or the step is
                                            -- gated. Then its rank is a time until tasker_admit_steps has seen it, and infinity while it waits in a line
  primary key (definition_id, rank, ready_no)   -- so a long line of steps that an engine cannot run, or may not yet, stands in nobody's way
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
create index tasker_ready_task on tasker_ready (task_no, step_no);

-- where a lane of the queue begins: the place of its first step
create type tasker_head as (
  lane      int,
  rank      timestamptz,
  ready_no  bigint
);

-- steps in state retrying, and the roots of tasks with a later run_at
create table tasker_delayed (
  run_at     timestamptz not null,
  task_no    bigint not null,
  step_no    int not null,
  primary key (run_at, task_no, step_no)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
create index tasker_delayed_task on tasker_delayed (task_no, step_no);

-- one row per idempotency key: a repeated request gets the first task's id
create table tasker_request_key (
  namespace    text not null,
  name         text not null,
  key          text not null,
  task_id      uuid not null,
  fingerprint  text not null,
  primary key (namespace, name, key)
);
create index tasker_request_key_task on tasker_request_key (task_id);   -- the key goes with its task

-- source: schema/40_engines.sql 8fc957945dcf
-- Who runs: one row per engine process (a fresh worker_id at every start) and one row per claim call.

create table tasker_worker (
  worker_id     int generated always as identity primary key,
  name          text not null,              -- host and process, for people
  runner        text not null,
  concurrency   int not null,
  definitions   int[] not null,             -- what it has handlers for, and the lanes of tasker_lane for which it has the labels
  labels        text[] not null default '{}',
  started_at    timestamptz not null,
  seen_at       timestamptz not null,
  lease_until   timestamptz not null,       -- the one judge of life and death, by the database's clock
  server_started_at  timestamptz,           -- the advisory lock says something only within one life of the server; null: it holds none
  draining      boolean not null default false,
  figures       jsonb not null default '{}' check (jsonb_typeof(figures) = 'object'),   -- what it counts of its own work, see engine/monitoring/own_figures.py
  journal_no    bigint not null default 0   -- the last batch of what its attempts said that was taken, see tasker_keep_journal
);

-- which steps a claim call leased; how the steps of a dead engine are found without an index on running steps.
-- The engine removes a row when all its steps have ended; a row too many costs nothing but its bytes.
create table tasker_claim (
  worker_id  int not null,
  claim_no   int not null,
  task_nos   bigint[] not null,
  step_nos   int[] not null,
  primary key (worker_id, claim_no)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- source: schema/45_deliveries.sql b178c0400ba0
-- Steps that an engine has handed to workers of a message broker. The message holds nothing but a token; what is to be done stands here.

-- One order under way. Whoever begins it has the token; a second message with it finds it begun, and one that was withdrawn finds nothing.
create table tasker_delivery (
  token        uuid primary key default gen_random_uuid(),
  sender       uuid not null,              -- one life of one engine's runner
  number       bigint not null,            -- the sender's own name for it
  worker_id    int not null,               -- the engine, whose lease must run for it to begin and to go on
  task_no      bigint not null,
  step_no      int not null,
  attempt      smallint not null,
  posted_at    timestamptz not null,
  place        text,                       -- who began it
  lease_until  timestamptz,                -- once begun: when it is lost unless its place is heard of
  kind         smallint,                   -- once ended: what came of it, see engine/runners
  payload      text,
  check ((place is null) = (lease_until is null)),
  check (kind is null or place is not null)
);
create index tasker_delivery_sender on tasker_delivery (sender);   -- what a sender takes

-- what handlers say there while they run, until the sender takes it
create table tasker_delivery_word (
  word_no    bigint generated always as identity primary key,
  sender     uuid not null,
  number     bigint not null,
  said_at    timestamptz not null,
  is_line    boolean not null,             -- a line of log; else progress
  fields     jsonb not null
);
create index tasker_delivery_word_sender on tasker_delivery_word (sender);

-- the processes that take such messages
create table tasker_delivery_place (
  place        text primary key,
  concurrency  int not null,
  version      text not null,              -- of tasker-engine
  seen_at      timestamptz not null
);

-- source: schema/50_history.sql 93f8327f28ac
-- What happened: one row per move, append-only. It is the audit trail, the events, the timeline and the live updates at once.
-- Readers follow it by transaction (xid), never by time or number: see tasker_news.

create table tasker_history (
  event_id    bigint generated always as identity,
  xid         bigint not null default pg_current_xact_id()::text::bigint,
  task_no     bigint not null,
  step_no     int,                          -- null: a move of the task itself
  at          timestamptz not null,
  from_state  smallint,                     -- null: created
  to_state    smallint not null,
  attempt     smallint,
  worker_id   int,
  actor       text,                         -- who, for an operator's action
  reason      text,
  detail      jsonb check (jsonb_typeof(detail) = 'object')   -- error of a failed attempt; {"run_at"} of a retry
);
create index tasker_history_task on tasker_history (task_no);
create index tasker_history_xid on tasker_history using brin (xid) with (pages_per_range = 16, autosummarize = on);

-- source: schema/55_objects.sql be0d62c0cf4c
-- Results that lie in an object store, because they are large. The step's own result then only tells people where; what it looks like decides nothing:
-- it stands for an object exactly if the step has a row here that names the same key.

create table tasker_object (
  task_no     bigint not null,
  step_no     int not null,
  key         text not null,                -- namespace/task/sha-256 of the content
  byte_count  bigint not null,
  primary key (task_no, step_no)
);

-- folders of the store, one per task, whose tasks are gone; each stands here until it is gone too
create table tasker_object_left (
  folder   text primary key,
  left_at  timestamptz not null
);

-- source: schema/60_events.sql 7a245e63f5c0
-- Who listens: the history is the event log, and each subscriber has a durable place in it.
-- An event's id is twice its history row's number, and one more for step.retried, which shares the row of its step.failed.

-- readers go through the history by number
create index tasker_history_event on tasker_history (event_id);

create table tasker_subscription (
  name             text primary key,        -- of the EventSubscriber class
  event_id         bigint not null,         -- everything up to here was delivered or laid aside
  owner            uuid,                    -- the engine that delivers to it now
  lease_until      timestamptz,             -- by the database's clock; then another engine may take over
  fence            bigint not null default 0,   -- goes up with every new owner; a report must name it
  attempts         int not null default 0,  -- of the event that comes next
  failures         int not null default 0,  -- those of the attempts that ended for a reason which was not said to pass
  first_refused_at timestamptz,             -- when that event was refused for the first time; null while it was not
  next_try_at      timestamptz,             -- set while that event waits for another attempt
  last_error       text,                    -- of the last attempt that failed; null once the event was delivered
  delivered_count  bigint not null default 0,
  delivered_at     timestamptz,
  created_at       timestamptz not null,
  check ((owner is null) = (lease_until is null))
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- events that a subscriber refused for good; kept for a person to look at, and to have them delivered again
create table tasker_undelivered (
  name      text not null,                  -- of the subscriber
  event_id  bigint not null,
  event     jsonb not null,
  attempts  int not null,
  error     text not null,
  at        timestamptz not null,
  primary key (name, event_id)
);
create index tasker_undelivered_task on tasker_undelivered ((event ->> 'task_id'));   -- the event goes with its task

-- events that handlers published; their numbers come from the history's sequence, so that one order holds all
create table tasker_custom_event (
  event_no  bigint primary key,
  at        timestamptz not null,
  type      text not null,
  task_no   bigint not null,
  step_no   int,
  data      jsonb
);
create index tasker_custom_event_task on tasker_custom_event (task_no);

-- source: schema/70_schedules.sql 15d33082ebb9
-- What recurs: one row per schedule. Python works out the times (engine/timing.py); here is who may act on them.

create table tasker_schedule (
  schedule_id   int generated always as identity primary key,
  namespace     text not null,
  name          text not null,              -- the workflow's
  version       text,                       -- null: the highest at each run
  kind          text not null check (kind in ('cron', 'interval')),
  expression    text not null,              -- 30 2 * * *  or  1h30m
  time_zone     text not null,              -- whose clock a cron expression is read by; an interval is the same length everywhere
  context       jsonb not null check (jsonb_typeof(context) = 'object'),
  policy        text not null check (policy in ('skip', 'one', 'all')),   -- what becomes of runs that no engine was there for
  paused        boolean not null default false,
  next_run_at   timestamptz,                -- null: there is no further run
  claimed_until timestamptz,                -- an engine is making the tasks that are due; another may after that
  last_run_at   timestamptz,                -- when it last made a task
  recent_task_ids  uuid[] not null default '{}',   -- the last five it made, newest first; all bear the tag schedule:<id>
  last_error    text,                       -- why its latest run made no task
  refused_count bigint not null default 0,  -- runs whose task was refused, since it was added
  missed_count  bigint not null default 0,  -- runs that made no task since no engine was there at their time; counted up to a limit at each look
  created_by    text,
  created_at    timestamptz not null,
  changed_by    text,                       -- the operator who last paused or resumed it, and why
  changed_at    timestamptz,
  change_reason text
);
create index tasker_schedule_due on tasker_schedule (next_run_at) where not paused;

-- source: schema/80_presets.sql 29f9195c1454
-- Contexts that people launch a workflow with again and again, each under a name of its own.

create table tasker_preset (
  namespace   text not null,
  name        text not null,
  preset      text not null check (length(preset) between 1 and 100),
  context     jsonb not null,               -- need not be complete: the launch form asks for the rest
  changed_by  text,
  changed_at  timestamptz not null,
  primary key (namespace, name, preset)
);

-- source: schema/85_batches.sql 5e6c02aca7ce
-- One action on many tasks or steps, which an engine does piece by piece.

create table tasker_batch (
  batch_id       bigint generated always as identity primary key,
  action         text not null check (action in ('retry', 'cancel', 'pause', 'resume', 'skip', 'resolve')),
  given          jsonb,                       -- the result that resolve gives to each step
  about          text not null,               -- how the items were chosen, in words
  namespaces     text[] not null,             -- of all its tasks: who reads it must be allowed to see them all
  actor          text not null,
  reason         text,
  item_count     int not null,
  done_count     int not null default 0,
  refused_count  int not null default 0,
  created_at     timestamptz not null,
  worked_at      timestamptz,                 -- when an engine was at it last
  finished_at    timestamptz,                 -- set when every item has an outcome, or when it was stopped
  stopped_by     text,                        -- who stopped it before its end
  key            text unique                  -- a request repeated with its key makes no second batch
);
create index tasker_batch_open on tasker_batch (batch_id) where finished_at is null;

create table tasker_batch_item (
  batch_id   bigint not null,
  item_no    int not null,
  task_id    uuid not null,
  step_name  text,                            -- null: the action is on the whole task
  outcome    text check (outcome in ('done', 'refused')),   -- null: not yet, or never, if the batch was stopped
  message    text,                            -- why it was refused
  primary key (batch_id, item_no)
);

-- source: schema/85_rollups.sql 05588360063b
-- What analytics and metrics stand on: moves of the history, counted by span of time. tasker_roll_up fills it, off the fast path, each move exactly once.
--   grain  0 minute  kept for two days     1 hour  kept for 400 days     2 day, from midnight UTC     3 ever, begins_at is -infinity
--   state  what the task or step moved into, with the numbers of 10_states; 2: an engine began, 3: a retry was set
--   bins   how many took how long: bins[n] those of at least the limit n - 1 and less than the limit n of tasker_bin_limits, without zeros at the end
-- What took so long: into 2, the wait in the queue; into 3 to 6 from running, the attempt; of a task, its run since its first step.

create table tasker_task_rollup (
  definition_id  int not null,
  grain          smallint not null check (grain between 0 and 3),
  state          smallint not null check (state in (2, 4, 5, 6, 8)),
  begins_at      timestamptz not null,
  move_count     bigint not null,           -- never goes down
  undone_count   bigint not null,           -- of the moves of this span, how many were led out of the state again since
  timed_count    bigint not null,           -- of which it is known how long it took
  took           interval not null,         -- those together
  longest        interval not null,
  bins           bigint[] not null,
  primary key (definition_id, grain, state, begins_at)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

create table tasker_step_rollup (
  definition_id  int not null,
  grain          smallint not null check (grain between 0 and 3),
  state          smallint not null check (state between 2 and 8),
  step_no        int not null check (step_no >= -1),   -- of the template, which items share; -1: all steps of the definition together
  begins_at      timestamptz not null,
  move_count     bigint not null,
  undone_count   bigint not null,
  timed_count    bigint not null,
  took           interval not null,
  longest        interval not null,
  timeout_count  bigint not null,           -- of attempts that failed: for want of time
  crash_count    bigint not null,           -- of attempts that failed: their engine or its process died
  bins           bigint[] not null,
  primary key (definition_id, grain, state, step_no, begins_at)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

-- how far the history is counted; the one row is made at the first look, and held by who counts
create table tasker_rollup_place (
  only_row    boolean primary key default true check (only_row),
  counted_to  bigint not null default 0,    -- every move up to this number is counted
  known_to    bigint not null default 0,    -- the newest number at the last look: to be counted when every transaction below known_xid has ended
  known_xid   bigint not null default 0
);

-- what a move has led a step to, as long as only that tells since when it waits
create table tasker_rollup_wait (
  task_no   bigint not null,
  step_no   int not null,
  state     smallint not null check (state in (0, 1, 3)),   -- 1: into the queue; 3: into its back-off; 0, a map step: to wait for its items, which wait for an engine since then
  since     timestamptz not null,           -- of a retry, when it is due
  primary key (task_no, step_no)
);

-- source: schema/86_failures.sql c7c3d738c61e
-- What people know of failures that are alike: who looks after them, until when, and what to do.

create table tasker_failure_note (
  failure     text primary key,               -- what tasker_failure_key gives
  namespace   text not null,
  owner       text,
  note        text,
  runbook     text check (runbook ~ '^https?://'),
  until       timestamptz,                    -- acknowledged so long
  changed_by  text not null,
  changed_at  timestamptz not null
);

-- Of each group of failures, how often it failed: also what was retried, resolved or dropped since. tasker_count_failures fills it, each failure exactly once.
create table tasker_failure_rollup (
  failure     text not null,                -- what tasker_failure_key gives
  begins_at   timestamptz not null,         -- of an hour; -infinity: ever
  fail_count  bigint not null,
  first_at    timestamptz not null,
  last_at     timestamptz not null,
  primary key (failure, begins_at)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

-- source: schema/87_gates.sql 5659312164b9
-- What a ready step may have to wait for beside an engine: one with certain labels, a free place, its turn. Such steps are "gated": they are
-- never handed straight to a worker, but parked, and tasker_admit_steps lets them into the queue. Systems that use nothing of this have no rows here.

-- a lane of the queue for the steps of one definition that need the same labels; its number is like a definition's, so that an engine names what it
-- serves by one list
create table tasker_lane (
  lane           int primary key default nextval(pg_get_serial_sequence('tasker_definition', 'definition_id')::regclass),
  definition_id  int not null references tasker_definition on delete cascade,
  labels         text[] not null,
  unique (definition_id, labels)
);

-- how much may go on at once, or begin within a period; the versions of a workflow share it
create table tasker_limit (
  limit_id    int generated always as identity primary key,
  namespace   text not null references tasker_namespace,
  name        text not null,
  step_name   text not null,                -- empty: the limit is on tasks of the workflow, not on steps
  key_path    text[] not null,              -- where in the context the key is; each key has places of its own. Empty: all share them
  key_is_secret  boolean not null default false,  -- what is found there is masked wherever it would be shown
  at_once     int check (at_once >= 0),     -- null: as many as come
  per_period  int check (per_period >= 0),
  period      interval not null default '1 second' check (period > interval '0'),
  declared    jsonb not null,               -- what the definition says; an operator may have changed it since
  changed_by  text,
  changed_at  timestamptz,                  -- null: as declared
  change_reason  text,
  unique (namespace, name, step_name)
);

-- who waits before a limit, in one line per key
create table tasker_waiting (
  limit_id  int not null,
  key       text not null,
  rank      timestamptz not null,
  task_no   bigint not null,
  step_no   int not null,
  lane      int not null,                   -- where it goes from here: an engine that does not serve this does not let it in
  primary key (limit_id, key, rank, task_no, step_no)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
create index tasker_waiting_task on tasker_waiting (task_no, step_no);

-- who has a place. It is never given back by whoever had it: it is looked up whether the step, in this attempt, or the task still goes on. So
-- nothing is lost with an engine. After the end it is kept for as long as it counts within the period
create table tasker_place (
  limit_id    int not null,
  key         text not null,
  task_no     bigint not null,
  step_no     int not null,                 -- 0 where the limit is on tasks
  attempt     smallint not null,            -- 0 where the limit is on tasks
  started_at  timestamptz,                  -- null: admitted, not yet claimed
  ended       boolean not null default false,
  primary key (limit_id, key, task_no, step_no, attempt)
);
create index tasker_place_task on tasker_place (task_no);

-- one row per line, locked by whoever lets somebody in; due_at tells when the next look at it is worth while, infinity: when a place is given back
create table tasker_line (
  limit_id  int not null,
  key       text not null,
  due_at    timestamptz not null,
  primary key (limit_id, key)
);
create index tasker_line_due on tasker_line (due_at);

-- source: schema/88_archives.sql 473d98c17b04
-- Where tasks are written to files before retention drops them: a folder of the engines' machines, with a folder per namespace and day in it.

create table tasker_archive (
  namespace  text unique nulls not distinct references tasker_namespace,   -- null: what namespaces follow that have no row of their own
  place      text check (place <> ''),      -- null: what is dropped is not written anywhere
  set_by     text,
  set_at     timestamptz not null
);

-- how the writing goes; a row per namespace of which anything was to be written
create table tasker_archive_state (
  namespace   text primary key,
  task_count  bigint not null default 0,    -- written and dropped so far
  written_at  timestamptz,
  error       text,                         -- why the last batch could not be written; null: it was
  failed_at   timestamptz,
  check ((error is null) = (failed_at is null))
);

-- source: schema/88_words.sql 3e2e8957284c
-- What can be found by its words: of tasks, and of steps that failed. tasker_index_words fills it, off the fast path. Words are those of the configuration simple.

create table tasker_task_words (
  task_no        bigint primary key,
  definition_id  int not null,
  words          tsvector not null          -- of its context's values, tags, initiator, source, reason and correlation id
);
create index tasker_task_words_words on tasker_task_words using gin (words);

create table tasker_step_words (
  task_no        bigint not null,
  step_no        int not null,
  definition_id  int not null,
  words          tsvector not null,         -- of the error of its last attempt that failed
  primary key (task_no, step_no)
);
create index tasker_step_words_words on tasker_step_words using gin (words);
create index tasker_step_words_of_definition on tasker_step_words (definition_id, task_no, step_no);   -- the newest failures of a quiet namespace beside loud ones

-- how far they are; the one row is made at the first look, and held by who goes on
create table tasker_words_place (
  only_row   boolean primary key default true check (only_row),
  tasks_to   bigint not null default 0,     -- every task up to this number is there
  known_to   bigint not null default 0,     -- the newest number at the last look: its turn comes when every transaction below known_xid has ended
  known_xid  bigint not null default 0,
  names      text[] not null default '{}',  -- how names of secrets ended when they were written down
  moves_to   bigint not null default 0      -- every failure up to this number of the history is there
);

-- source: schema/90_journal.sql 2eafa147d736
-- What attempts say while they run: lines of log, kept as long as their task, and how far the newest attempt of a step is.

create table tasker_log (
  line_no   bigint generated always as identity,   -- in the order in which they were written down
  xid       bigint not null default pg_current_xact_id()::text::bigint,   -- live pages follow it, see tasker_history
  task_no   bigint not null,
  step_no   int not null,
  attempt   smallint not null,              -- one that was handed back uncharged comes again, and its lines follow on
  at        timestamptz not null,
  level     smallint not null check (level in (10, 20, 30, 40, 50)),   -- debug, info, warning, error, critical
  message   text not null,
  fields    jsonb check (jsonb_typeof(fields) = 'object'),
  primary key (task_no, step_no, attempt, line_no)
);
create index tasker_log_order on tasker_log (task_no, line_no);
create index tasker_log_xid on tasker_log using brin (xid) with (pages_per_range = 16, autosummarize = on);

create table tasker_progress (
  task_no   bigint not null,
  step_no   int not null,
  xid       bigint not null default pg_current_xact_id()::text::bigint,
  attempt   smallint not null,
  at        timestamptz not null,
  done      float8 not null check (done >= 0),
  total     float8 check (total >= 0),      -- null: not known
  note      text,
  primary key (task_no, step_no)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
create index tasker_progress_xid on tasker_progress (xid);

-- source: schema/90_standings.sql ad90c903580a
-- How a step, or the task itself (step_no null), stands in what an operator's action can change: what a preview compares.
create type tasker_standing as (
  step_no      int,
  map_no       int,                         -- of an item: its map step
  item_no      int,
  state        smallint,
  attempts     smallint,
  finished_at  timestamptz,
  paused       boolean,
  stopping     boolean,                     -- asked to stop
  bypass       boolean,
  blocked      boolean,                     -- waits behind a failed step
  live         boolean,                     -- false for an item of before, whose map step has made others since
  context      jsonb                        -- of the task
);

-- source: functions/tasker_refuse_change.sql c56ebf29328b
-- tasker_refuse_change: the trigger of a table that is only ever added to.
--   raises WF002 always
create or replace function tasker_refuse_change ()
  returns trigger
  language plpgsql
as $$
begin
  raise exception '% is only ever added to', tg_table_name using errcode = 'WF002';
end
$$;

-- source: schema/95_accounts.sql 77012339d10d
-- Who may come in and what they may do there. Secrets are stored as hashes only; what happened to all of this is in tasker_audit.

create table tasker_account (
  account_id     int generated always as identity primary key,
  name           text not null check (length(name) between 1 and 100),
  password_hash  text,                      -- argon2id; null: signs in by another method only
  outside_id     text unique,               -- who this is at a sign-in provider: its issuer and its subject
  totp_secret    text,                      -- null: no second factor
  totp_last      bigint not null default 0, -- the period of the last code that was taken, so that none counts twice
  disabled       boolean not null default false,
  created_at     timestamptz not null,
  created_by     text,
  signed_in_at   timestamptz,
  zone           text                       -- in which times are shown; null: the browser's
);
create unique index tasker_account_name on tasker_account (lower(name));

-- Bundles of permissions beside those that are built in (engine/access/permissions.py).
create table tasker_role (
  role         text primary key check (length(role) between 1 and 100),
  permissions  text[] not null
);

create table tasker_grant (
  account_id  int not null references tasker_account,
  role        text not null,
  namespace   text,                         -- null: in all of them
  unique nulls not distinct (account_id, role, namespace)
);

create table tasker_session (
  session_hash  bytea primary key check (octet_length(session_hash) = 32),
  session_id    int generated always as identity unique,   -- by which it is listed and ended
  account_id    int not null references tasker_account,
  method        text not null,              -- how its owner signed in
  half          boolean not null default false,   -- the password was right, the second factor is still to come
  started_at    timestamptz not null,
  seen_at       timestamptz not null,       -- exact to a minute
  address       text,
  browser       text
);
create index tasker_session_account on tasker_session (account_id);

create table tasker_token (
  token_id     text primary key,            -- stands in the token in clear, so that it is found without comparing secrets
  secret_hash  bytea not null check (octet_length(secret_hash) = 32),
  account_id   int not null references tasker_account,
  label        text not null check (length(label) between 1 and 100),
  scopes       text[],                      -- null: whatever its owner may
  namespace    text,                        -- null: wherever its owner may
  created_at   timestamptz not null,
  created_by   text,
  expires_at   timestamptz not null,
  used_at      timestamptz,                 -- exact to a minute
  revoked_at   timestamptz
);
create index tasker_token_account on tasker_token (account_id);

create table tasker_sign_in_link (
  link_hash   bytea primary key check (octet_length(link_hash) = 32),
  account_id  int not null references tasker_account,
  expires_at  timestamptz not null
);

-- Tries to sign in, by which they are slowed down; kept for a month.
create table tasker_sign_in (
  sign_in_no  bigint generated always as identity primary key,
  name        text not null,                -- as it was typed, in lower case; there need be no such account
  address     text not null,
  at          timestamptz not null,
  outcome     text not null check (outcome in ('failed', 'half', 'done'))   -- half: the password was right, the second factor is still to come
);
create index tasker_sign_in_name on tasker_sign_in (name, at);
create index tasker_sign_in_address on tasker_sign_in (address, at);

-- Who did what, when, from where, to which object, why. Only ever added to.
create table tasker_audit (
  audit_no   bigint generated always as identity primary key,
  at         timestamptz not null,
  actor      text not null,
  action     text not null,                 -- a permission such as tasker.task:retry, or sign_in, sign_out
  outcome    text not null check (outcome in ('done', 'refused', 'denied')),   -- denied: for want of a right, or of the right password
  namespace  text,
  object     text,                          -- such as task 0198..., account ada
  reason     text,
  address    text,
  detail     jsonb
);
create index tasker_audit_at on tasker_audit (at);
create index tasker_audit_actor on tasker_audit (actor, audit_no);
-- needs: tasker_refuse_change
create trigger tasker_audit_is_kept before update or delete on tasker_audit for each row execute function tasker_refuse_change();
create trigger tasker_audit_is_not_emptied before truncate on tasker_audit for each statement execute function tasker_refuse_change();

-- source: schema/96_database_roles.sql 36ed6fc689f2
-- Which roles of the database server the engine and the dashboard connect as, where they have roles of their own; `tasker db roles` writes here,
-- and every migration grants them anew what they need.

create table tasker_database_role (
  part       text primary key check (part in ('engine', 'web')),
  role_name  text not null,
  unique (role_name)
);

-- source: schema/97_views.sql 6ae6ff8e0f11
-- Lists of tasks and of failures that people keep under a name, what is to be told of them and of tasks, and to whom.

create table tasker_view (
  view_id     bigint generated always as identity primary key,
  name        text not null check (length(name) between 1 and 100),
  namespace   text,                         -- shared with all who may see its tasks, and holds none but those; null: its owner's alone
  owner_id    int not null references tasker_account,   -- who kept or changed it last: it is counted with this account's rights
  parameters  jsonb not null check (jsonb_typeof(parameters) = 'object'),   -- the list's query parameters
  changed_at  timestamptz not null,
  threshold   int check (threshold between 0 and 1000),   -- tell when more than so many match; null: tell nothing
  rest        interval not null default interval '15 minutes',   -- at least so long between two alerts
  webhook     text,                         -- where to
  secret      text,                         -- signs what is sent there
  email       text,
  link        text,                         -- of the view on the dashboard
  counted_at  timestamptz,                  -- when it was last to be counted
  count       int,                          -- what was found then, 1001 for more; of failures, the groups that nobody looks after and no later run has healed; null: that took too long, or its owner may not see it any more
  over_since  timestamptz,                  -- set while more match, from the alert to its end
  alerted_at  timestamptz,
  kind        text not null default 'tasks' check (kind in ('tasks', 'failures')),   -- of what it is a list
  is_least    boolean not null default false    -- older ones were not looked through when it was counted: there may have been more
);
create unique index tasker_view_shared on tasker_view (namespace, lower(name)) where namespace is not null;
create unique index tasker_view_private on tasker_view (owner_id, lower(name)) where namespace is null;
create index tasker_view_watched on tasker_view (counted_at nulls first) where threshold is not null;

-- who wants to be told when a task ends; gone when that is told
create table tasker_follower (
  follower_id  bigint generated always as identity primary key,
  task_no      bigint not null,
  account_id   int not null references tasker_account,
  channel      text not null check (channel in ('webhook', 'email')),
  target       text not null,
  link         text,                        -- of the task on the dashboard
  since        timestamptz not null,
  unique (task_no, account_id, channel, target)
);

-- what is to be told, once to each: tried again with longer and longer rests until it was taken
create table tasker_notice (
  notice_id     bigint generated always as identity primary key,
  view_id       bigint,
  task_no       bigint,
  channel       text not null check (channel in ('webhook', 'email')),
  target        text not null,
  secret        text,
  facts         jsonb not null,             -- what a webhook is sent, and an e-mail says in words
  created_at    timestamptz not null,
  due_at        timestamptz not null,
  attempts      int not null default 0,
  delivered_at  timestamptz,
  given_up_at   timestamptz,
  error         text,                       -- why the last attempt was in vain
  check (delivered_at is null or given_up_at is null)
);
create index tasker_notice_due on tasker_notice (due_at) where delivered_at is null and given_up_at is null;
create index tasker_notice_view on tasker_notice (view_id, notice_id) where view_id is not null;
create index tasker_notice_task on tasker_notice (task_no) where task_no is not null;

-- source: functions/tasker_accept_undelivered.sql 6625be3214ba
-- tasker_accept_undelivered: a subscriber has taken an event after all that was laid aside; it is laid aside no more, and counts as delivered.
--   moves, events  none     locks  the subscription, then the event that was laid aside, as tasker_lay_aside_event does
--   returns false when it was not laid aside any more; then nothing is recorded
create or replace function tasker_accept_undelivered (p_name text, p_event_id bigint)
  returns boolean
  language plpgsql
as $$
begin
  perform from tasker_subscription s where s.name = p_name for update;
  delete from tasker_undelivered u where u.name = p_name and u.event_id = p_event_id;
  if not found then
    return false;
  end if;
  update tasker_subscription s set delivered_count = s.delivered_count + 1, delivered_at = tasker_clock() where s.name = p_name;
  return true;
end
$$;

-- source: functions/tasker_account_no.sql 36433983df19
-- tasker_account_no: the number of the account of that name, in whichever case it is written; its row is held.
--   locks  the account     raises WF001 when there is none
create or replace function tasker_account_no (p_name text)
  returns int
  language plpgsql
as $$
declare
  v_account_id int;
begin
  select a.account_id into v_account_id from tasker_account a where lower(a.name) = lower(p_name) for update;
  if v_account_id is null then
    raise exception 'there is no account "%"', p_name using errcode = 'WF001';
  end if;
  return v_account_id;
end
$$;

-- source: functions/tasker_act.sql 88d6b503dde3
-- tasker_act: an operator's action by its name, and only if it does what a preview has shown.
--   p_action     retry, cancel, pause, resume of a task; retry, retry_downstream, cancel, skip, resolve of the step p_step_name
--   p_given      the result for resolve, the new context for retry_downstream or null
--   p_seen       what tasker_preview said to it; null asks for nothing
--   moves, events  those of the function of that name, whose answer it returns: the state of the step or of the task
--   locks        as that function
--   raises       what that function raises; WF006 when it would do something else than was seen, 22023 when there is no such action; then nothing has changed
create or replace function tasker_act (p_task_id uuid, p_action text, p_step_name text, p_given jsonb, p_actor text, p_reason text, p_seen text default null)
  returns text
  language plpgsql
as $$
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_before tasker_standing[];
  v_state text;
begin
  -- taken before the action holds anything: what moves in between shows as a difference that was not seen
  v_before := case when p_seen is not null then tasker_stand(v_task_no) end;
  v_state := case
    when p_step_name is null then
      case p_action
        when 'retry' then tasker_retry_task(p_task_id, p_actor, p_reason)
        when 'cancel' then tasker_cancel_task(p_task_id, p_actor, p_reason)
        when 'pause' then tasker_pause_task(p_task_id, p_actor, p_reason)
        when 'resume' then tasker_resume_task(p_task_id, p_actor, p_reason)
      end
    else
      case p_action
        when 'retry' then tasker_retry_step(p_task_id, p_step_name, p_actor, p_reason)
        when 'retry_downstream' then tasker_retry_downstream(p_task_id, p_step_name, p_given, p_actor, p_reason)
        when 'cancel' then tasker_cancel_step(p_task_id, p_step_name, p_actor, p_reason)
        when 'skip' then tasker_skip_step(p_task_id, p_step_name, p_actor, p_reason)
        when 'resolve' then tasker_resolve_step(p_task_id, p_step_name, p_given, p_actor, p_reason)
      end
    end;
  if v_state is null then
    raise exception 'there is no action "%" on a %', p_action, case when p_step_name is null then 'task' else 'step' end using errcode = '22023';
  end if;
  if v_before is not null and tasker_seen(v_before, tasker_stand(v_task_no)) <> p_seen then
    raise exception 'the task has changed since you looked' using errcode = 'WF006';
  end if;
  return v_state;
end
$$;

-- source: functions/tasker_add_bins.sql bc2363bc5d71
-- tasker_add_bins: the counts of both, bin by bin.
create or replace function tasker_add_bins (p_bins bigint[], p_others bigint[])
  returns bigint[]
  language sql immutable parallel safe
as $$
  select coalesce(array_agg(coalesce(b.count, 0) + coalesce(b.other, 0) order by b.number), '{}')
    from unnest(p_bins, p_others) with ordinality as b (count, other, number)
$$;

-- source: functions/tasker_clock.sql 7e4fb1b06a3e
-- tasker_clock: the one clock of the product. Tests move it for a session: set tasker.clock_offset = '1 hour'.
--   returns the time now, even inside a long transaction
create or replace function tasker_clock ()
  returns timestamptz
  language sql volatile parallel safe
as $$
  select clock_timestamp() + coalesce(nullif(current_setting('tasker.clock_offset', true), ''), '0')::interval
$$;

-- source: functions/tasker_add_schedule.sql f245f7f98db8
-- tasker_add_schedule: a workflow is to run again and again.
-- needs: tasker_clock
--   p_schedule  {"namespace", "name", "version", "kind", "expression", "time_zone", "context", "policy", "next_run_at", "created_by"}, all of it valid
--   returns its id
create or replace function tasker_add_schedule (p_schedule jsonb)
  returns int
  language sql
as $$
  insert into tasker_schedule (namespace, name, version, kind, expression, time_zone, context, policy, next_run_at, created_by, created_at)
  select field.namespace, field.name, field.version, field.kind, field.expression, field.time_zone, field.context, field.policy,
         field.next_run_at, field.created_by, tasker_clock()
    from jsonb_to_record(p_schedule) as field (namespace text, name text, version text, kind text, expression text, time_zone text,
                                               context jsonb, policy text, next_run_at timestamptz, created_by text)
  returning schedule_id
$$;

-- source: functions/tasker_admit_line.sql 46b487e25ed7
-- tasker_admit_line: the first in one line go on, as many as there are free places; and every step that has its place, or whose task has it, wherever it stands.
--   The caller holds the line.
--   returns how many places that took     moves  none     locks  queue rows; those that others hold stay where they are
create or replace function tasker_admit_line (p_limit_id int, p_key text, p_lanes int[], p_want int)
  returns int
  language plpgsql
as $$
declare
  v_now timestamptz := tasker_clock();
  v_limit tasker_limit;
  v_free int;
  v_next record;
  v_took int;
  v_taken int := 0;
  v_left_behind boolean := false;
begin
  select l.* into v_limit from tasker_limit l where l.limit_id = p_limit_id;
  perform tasker_look_at_places(v_limit, p_key);
  v_free := tasker_free_count(v_limit, p_key);
  for v_next in
    select w.rank, w.task_no, w.step_no, w.lane from tasker_waiting w
     where w.limit_id = p_limit_id and w.key = p_key and w.lane = any(p_lanes) order by w.rank, w.task_no, w.step_no limit p_want
  loop
    exit when v_free <= 0;
    v_took := coalesce(tasker_leave_line(v_limit, p_key, v_next.rank, v_next.task_no, v_next.step_no, v_next.lane), 0);
    v_free := v_free - v_took;
    v_taken := v_taken + v_took;
  end loop;
  -- for whatever engine they are: they take no place, and who serves them may not look at this line until one is given back
  for v_next in
    select w.rank, w.task_no, w.step_no, w.lane from tasker_place h
     cross join lateral (select k.limit_id, k.key, k.rank, k.task_no, k.step_no, k.lane from tasker_waiting k where k.task_no = h.task_no offset 0) w
     where h.limit_id = p_limit_id and h.key = p_key and not h.ended and w.limit_id = p_limit_id and w.key = p_key and h.step_no in (0, w.step_no)
  loop
    v_took := tasker_leave_line(v_limit, p_key, v_next.rank, v_next.task_no, v_next.step_no, v_next.lane);
    v_left_behind := v_left_behind or v_took is null;
  end loop;
  update tasker_line n set due_at = case when v_left_behind then v_now else tasker_line_due(v_limit, p_key, v_free) end
   where n.limit_id = p_limit_id and n.key = p_key;
  return v_taken;
end
$$;

-- source: functions/tasker_admit_steps.sql 639ea72c0ae6
-- tasker_admit_steps: gated steps that may go on now stand in the queue. A claim calls this first when anything is parked.
--   p_lanes  what the caller's engine serves; steps for others are left to them     p_want  as many as it has room for
--   moves  none     locks  queue rows, then lines; what others hold is skipped but for the lines of new arrivals
create or replace function tasker_admit_steps (p_lanes int[], p_want int)
  returns void
  language plpgsql
as $$
declare
  c_arrivals constant int := 1000;
  c_lines constant int := 100;
  v_now timestamptz;
  v_lane int;
  v_arrived boolean;
  v_rank timestamptz;
  v_left int := 2 * p_want;   -- one step may pass two limits
  v_line record;
begin
  -- who passes the limit of its workflow may have to stand before its own, and then arrives once more
  for v_round in 1 .. 2 loop
    v_arrived := false;
    v_lane := -2147483647;
    loop
      select r.definition_id, r.rank into v_lane, v_rank from tasker_ready r
       where r.definition_id > v_lane and r.definition_id < 0 order by r.definition_id, r.rank, r.ready_no limit 1;
      exit when not found;
      if v_rank < 'infinity' and -v_lane = any(p_lanes) then
        perform tasker_line_up(-v_lane, c_arrivals);
        v_arrived := true;
      end if;
    end loop;
    exit when v_round = 2 and not v_arrived;
    v_now := tasker_clock();
    for v_line in
      select n.limit_id, n.key from tasker_line n
       where n.due_at <= v_now
         and n.limit_id = any(array(select l.limit_id from tasker_limit l
                                     where (l.namespace, l.name) in (select d.namespace, d.name from tasker_definition d where d.definition_id = any(p_lanes))))
       order by n.due_at limit c_lines for update skip locked
    loop
      exit when v_left <= 0;
      v_left := v_left - tasker_admit_line(v_line.limit_id, v_line.key, p_lanes, v_left);
    end loop;
  end loop;
end
$$;

-- source: functions/tasker_advance_schedule.sql 77d2f80ba4ee
-- tasker_advance_schedule: a run that was due has been dealt with; the schedule waits for its next one.
--   Where that is the same run, whose times the caller could not compute, it stays claimed for a while, and whoever comes then tries again.
-- needs: tasker_clock
--   p_due_at    the run that the caller claimed; when the schedule has moved on from it, nothing changes
--   p_task_ids  the tasks that were made, oldest first;  p_error  why there are none
--   p_refused, p_missed  how many runs were refused, and for how many no engine was there in time
--   returns whether it was advanced
create or replace function tasker_advance_schedule
  (p_schedule_id int, p_due_at timestamptz, p_next_run_at timestamptz, p_task_ids uuid[], p_error text, p_refused int default 0, p_missed int default 0)
  returns boolean
  language sql
as $$
  with made as (
    select coalesce(array_agg(m.task_id order by m.place desc), '{}') as task_ids
      from unnest(p_task_ids) with ordinality as m (task_id, place)
  ),
  advanced as (
    update tasker_schedule s
       set next_run_at = p_next_run_at,
           claimed_until = case when p_next_run_at = p_due_at then s.claimed_until end,
           last_run_at = case when made.task_ids = '{}' then s.last_run_at else tasker_clock() end,
           recent_task_ids = (made.task_ids || s.recent_task_ids)[1:5],
           last_error = p_error,
           refused_count = s.refused_count + p_refused,
           missed_count = s.missed_count + p_missed
      from made
     where s.schedule_id = p_schedule_id and s.next_run_at = p_due_at
    returning 1
  )
  select exists (select from advanced)
$$;

-- source: functions/tasker_audit_note.sql 6accba38763d
-- tasker_audit_note: who did what, when, from where, to which object and why is on record for good.
create or replace function tasker_audit_note (
  p_actor text, p_action text, p_outcome text, p_namespace text, p_object text, p_reason text, p_address text, p_detail jsonb default null
)
  returns void
  language sql
as $$
  insert into tasker_audit (at, actor, action, outcome, namespace, object, reason, address, detail)
  values (tasker_clock(), p_actor, p_action, p_outcome, p_namespace, p_object, p_reason, p_address, p_detail)
$$;

-- source: functions/tasker_backoff.sql 993ab7586613
-- tasker_backoff: how long a step waits before its next attempt.
--   p_attempt  the attempt that has just failed, from 1     p_delay  seconds the handler asked for; wins over the computed wait
--   returns base * multiplier ^ (attempt - 1), at most cap, give or take the jitter's share
create or replace function tasker_backoff (p_definition_id int, p_step_no int, p_attempt int, p_delay float8)
  returns interval
  language plpgsql volatile
as $$
declare
  v_wait float8;
begin
  if p_delay is not null then
    return least(greatest(p_delay, 0), 315360000) * interval '1 second';
  end if;
  select least(p.backoff_cap, p.backoff_base * p.backoff_multiplier ^ least(p_attempt - 1, 60)) * (1 + p.backoff_jitter * (2 * random() - 1))
    into v_wait
    from tasker_template p where p.definition_id = p_definition_id and p.step_no = p_step_no;
  return least(coalesce(v_wait, 0), 315360000) * interval '1 second';
end
$$;

-- source: functions/tasker_beat_place.sql 51864b2076cf
-- tasker_beat_place: a process that takes deliveries lives, and with it what it has begun, as long as the engines do that sent it.
--   returns of its deliveries those that may go on, for how many seconds, and whether they were asked to stop; what is missing must end at once
create or replace function tasker_beat_place (p_place text, p_concurrency int, p_tokens uuid[], p_lease interval, p_version text default '')
  returns table (token uuid, seconds float8, cancel_requested boolean)
  language sql
as $$
  with seen as (
    insert into tasker_delivery_place as l (place, concurrency, version, seen_at) values (p_place, p_concurrency, p_version, tasker_clock())
    on conflict (place) do update set concurrency = excluded.concurrency, seen_at = excluded.seen_at
  ), left_behind as (
    delete from tasker_delivery_place l where l.seen_at < tasker_clock() - interval '1 hour'
  ), orphaned as (
    delete from tasker_delivery d
     where d.posted_at < tasker_clock() - interval '1 hour'
       and not exists (select from tasker_worker w where w.worker_id = d.worker_id and w.lease_until > tasker_clock())
  )
  update tasker_delivery d
     set lease_until = least(tasker_clock() + p_lease, w.lease_until)
    from tasker_worker w, tasker_step s
   where d.token = any(p_tokens) and d.place = p_place and d.kind is null and d.lease_until > tasker_clock()
     and w.worker_id = d.worker_id and w.lease_until > tasker_clock()
     and s.task_no = d.task_no and s.step_no = d.step_no and s.worker_id = d.worker_id and s.attempts = d.attempt
  returning d.token, extract(epoch from d.lease_until - tasker_clock())::float8, s.cancel_requested
$$;

-- source: functions/tasker_begin_delivery.sql f196b9739fde
-- tasker_begin_delivery: what the token stands for, for the one who is to do it. Once only: a message that comes twice, or too late, gets nothing.
--   locks  the delivery
--   returns the step's data while its engine holds it and lives; no row otherwise
create or replace function tasker_begin_delivery (p_token uuid, p_place text, p_lease interval)
  returns table (
    sender uuid, number bigint, key text, step_no int, template_no int, timeout_ms bigint, attempt smallint, retry_limit int, task_id uuid,
    context text, correlation_id text, traceparent text, map_no int, item_no int, item text)
  language sql
as $$
  with begun as (
    update tasker_delivery d
       set place = p_place, lease_until = tasker_clock() + p_lease
      from tasker_step s
     where d.token = p_token and d.place is null
       and s.task_no = d.task_no and s.step_no = d.step_no and s.state = 2 and s.worker_id = d.worker_id and s.attempts = d.attempt
       and exists (select from tasker_worker w where w.worker_id = d.worker_id and w.lease_until > tasker_clock())
    returning d.sender, d.number, d.task_no, d.attempt, s.definition_id, s.step_no, s.map_no, s.item_no, s.item
  )
  select b.sender, b.number, f.namespace || '/' || f.name || '@' || f.version, b.step_no, p.step_no, p.timeout_ms, b.attempt,
         greatest(p.retry_limit, b.attempt), t.task_id, t.context::text, t.correlation_id, t.traceparent, b.map_no, b.item_no, b.item::text
    from begun b
    join tasker_task t on t.task_no = b.task_no
    join tasker_definition f on f.definition_id = b.definition_id
    join tasker_template p on p.definition_id = b.definition_id and p.step_no = coalesce(b.map_no, b.step_no)
$$;

-- source: functions/tasker_begin_session.sql ef6ad90824a5
-- tasker_begin_session: an account is signed in under a new secret, of which only the hash is known here; sessions that ran out go.
--   A whole session takes the place of the account's half ones, whose secrets are void then.
--   p_password_hash  what the password was compared with, where one was     p_half_hash  the half session that this one completes, where there is one
--   locks  the account     raises WF002 when the account is disabled, the password is another one by now, or the half session is over
create or replace function tasker_begin_session (
  p_account_id int, p_hash bytea, p_method text, p_half boolean, p_address text, p_browser text, p_password_hash text default null, p_half_hash bytea default null
)
  returns void
  language plpgsql
as $$
declare
  v_account tasker_account;
begin
  select * into v_account from tasker_account a where a.account_id = p_account_id and not a.disabled for no key update;
  if not found then
    raise exception 'this account is disabled' using errcode = 'WF002';
  end if;
  if p_password_hash is not null and v_account.password_hash is distinct from p_password_hash then
    raise exception 'the password was changed meanwhile; sign in again' using errcode = 'WF002';
  end if;
  delete from tasker_session s where s.session_hash = p_half_hash and s.account_id = p_account_id and s.half;
  if p_half_hash is not null and not found then
    raise exception 'this sign-in was ended meanwhile; sign in again' using errcode = 'WF002';
  end if;
  delete from tasker_session s where s.started_at < tasker_clock() - interval '24 hours' or s.seen_at < tasker_clock() - interval '8 hours'
     or s.account_id = p_account_id and s.half and not p_half;
  insert into tasker_session (session_hash, account_id, method, half, started_at, seen_at, address, browser)
  values (p_hash, p_account_id, p_method, p_half, tasker_clock(), tasker_clock(), p_address, p_browser);
  if not p_half then
    update tasker_account a set signed_in_at = tasker_clock() where a.account_id = p_account_id;
  end if;
end
$$;

-- source: functions/tasker_begin_sign_in.sql 7f62590cbbb8
-- tasker_begin_sign_in: a try to sign in is counted before anything is compared, so that a thousand at once are no way around the count.
--   returns its number, or null when it must not be evaluated: there were too many that failed within 15 minutes
--   locks   the count, for the length of this transaction
--   counted 5 of this name from this address since it last signed in from there; and where it has not signed in for a month,
--           10 of any name from this address, and 10 of this name from such addresses. So nobody locks out an owner at a known place.
create or replace function tasker_begin_sign_in (p_name text, p_address text)
  returns bigint
  language plpgsql
as $$
declare
  v_since timestamptz := tasker_clock() - interval '15 minutes';
  v_known timestamptz;
  v_sign_in_no bigint;
begin
  perform pg_advisory_xact_lock(hashtextextended('tasker sign in', 0));
  delete from tasker_sign_in s where s.at < tasker_clock() - interval '30 days';
  select max(s.at) into v_known from tasker_sign_in s where s.name = p_name and s.address = p_address and s.outcome = 'done';
  if (select count(*) from tasker_sign_in s
       where s.name = p_name and s.address = p_address and s.outcome = 'failed' and s.at > greatest(v_since, v_known)) >= 5 then
    return null;
  end if;
  if v_known is null and (
    (select count(*) from tasker_sign_in s where s.address = p_address and s.outcome = 'failed' and s.at > v_since) >= 10
    or (select count(*) from tasker_sign_in s
         where s.name = p_name and s.outcome = 'failed' and s.at > v_since
           and not exists (select from tasker_sign_in k where k.name = s.name and k.address = s.address and k.outcome = 'done')) >= 10) then
    return null;
  end if;
  insert into tasker_sign_in (name, address, at, outcome) values (p_name, p_address, tasker_clock(), 'failed') returning sign_in_no into v_sign_in_no;
  return v_sign_in_no;
end
$$;

-- source: functions/tasker_bin_limits.sql 05fbb433ba15
-- tasker_bin_limits: the limits between the bins of durations, in seconds: ten to a decade, from 1 ms to 11.6 days.
--   So a figure taken from the bins is never further from the true one than 26 %. Round ones, so that limits of half a second, a second or a minute are near.
create or replace function tasker_bin_limits ()
  returns float8[]
  language sql immutable parallel safe
as $$
  select array[0.001, 0.00125, 0.0016, 0.002, 0.0025, 0.00315, 0.004, 0.005, 0.0063, 0.008,
               0.01, 0.0125, 0.016, 0.02, 0.025, 0.0315, 0.04, 0.05, 0.063, 0.08,
               0.1, 0.125, 0.16, 0.2, 0.25, 0.315, 0.4, 0.5, 0.63, 0.8,
               1, 1.25, 1.6, 2, 2.5, 3.15, 4, 5, 6.3, 8,
               10, 12.5, 16, 20, 25, 31.5, 40, 50, 63, 80,
               100, 125, 160, 200, 250, 315, 400, 500, 630, 800,
               1000, 1250, 1600, 2000, 2500, 3150, 4000, 5000, 6300, 8000,
               10000, 12500, 16000, 20000, 25000, 31500, 40000, 50000, 63000, 80000,
               100000, 125000, 160000, 200000, 250000, 315000, 400000, 500000, 630000, 800000,
               1000000]::float8[]
$$;

-- source: functions/tasker_bins.sql a74e4e46be06
-- tasker_bins: counts by the number of their bin, as the array that roll-ups keep; no number may come twice.
create or replace function tasker_bins (p_numbers int[], p_counts bigint[])
  returns bigint[]
  language sql immutable parallel safe
as $$
  select coalesce(array_agg(coalesce(c.count, 0) order by n.number), '{}')
    from generate_series(1, (select max(m.number) from unnest(p_numbers) as m (number))) as n (number)
    left join unnest(p_numbers, p_counts) as c (number, count) using (number)
$$;

-- source: functions/tasker_block_descendants.sql f4c7968a22d8
-- tasker_block_descendants: what follows when steps have just failed or been cancelled for good.
--   The first time in a task everything is counted anew; later only the newly blocked steps are taken off the count.
--   moves  descendants of a cancelled step -> cancelled; task -> its final state when nothing can progress
--   locks  what can move in a task to be counted anew, and what is blocked in the others, by (task_no, step_no); then tasks by task_no.
--          The caller has taken the queue rows and steps of the tasks in tasker_recount_due before it moved the first step
--   events step.cancelled, task.failed | cancelled
create or replace function tasker_block_descendants (p_task_nos bigint[], p_step_nos int[])
  returns void
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_now timestamptz := tasker_clock();
  v_recount bigint[] := tasker_recount_due(p_task_nos, p_step_nos);
  v_blocked_tasks bigint[];
  v_blocked_steps int[];
  v_off bigint[];
  v_task record;
begin
  with recursive blocked (task_no, step_no) as (
    select ended.task_no, c.step_no
      from unnest(p_task_nos, p_step_nos) as ended (task_no, step_no)
     cross join lateral (select k.children from tasker_step k where k.task_no = ended.task_no and k.step_no = ended.step_no offset 0) s,
           unnest(s.children) as c (step_no)
     where ended.task_no <> all(v_recount)
    union
    select b.task_no, c.step_no
      from blocked b
     cross join lateral (select k.children from tasker_step k where k.task_no = b.task_no and k.step_no = b.step_no and k.state = 0 offset 0) s,
           unnest(s.children) as c (step_no)
  )
  select array_agg(b.task_no), array_agg(b.step_no) into v_blocked_tasks, v_blocked_steps from blocked b;

  perform tasker_hold_steps(v_blocked_tasks, v_blocked_steps, v_recount);

  with recursive lost (task_no, step_no) as (
    select ended.task_no, c.step_no
      from unnest(p_task_nos, p_step_nos) as ended (task_no, step_no)
     cross join lateral (select k.children from tasker_step k where k.task_no = ended.task_no and k.step_no = ended.step_no and k.state = 6 offset 0) s,
           unnest(s.children) as c (step_no)
    union
    select l.task_no, c.step_no
      from lost l
     cross join lateral (select k.children from tasker_step k where k.task_no = l.task_no and k.step_no = l.step_no and k.state = 0 offset 0) s,
           unnest(s.children) as c (step_no)
  ),
  cancelled as (
    update tasker_step s set state = 6, finished_at = v_now
      from (select distinct l.task_no, l.step_no from lost l where abs(l.task_no) = l.task_no) l   -- see tasker_complete_batch on abs
     where s.task_no = l.task_no and s.step_no = l.step_no and case when s.state = 0 then true end
    returning s.task_no, s.step_no
  )
  insert into tasker_history (task_no, step_no, at, from_state, to_state, reason)
  select c.task_no, c.step_no, v_now, 0, 6, 'a step it waits for was cancelled' from cancelled c order by 1, 2;

  with uncounted as (
    update tasker_step s set counted = false
      from (select b.task_no, b.step_no from unnest(v_blocked_tasks, v_blocked_steps) as b (task_no, step_no) where abs(b.task_no) = b.task_no) b
     where s.task_no = b.task_no and s.step_no = b.step_no and case when s.state = 0 and s.counted then true end
    returning s.task_no
  )
  select array_agg(u.task_no) into v_off from uncounted u;

  for v_task in
    select ended.task_no, count(*) filter (where s.state = 5) as failed, count(*) filter (where s.state = 6) as cancelled
      from unnest(p_task_nos, p_step_nos) as ended (task_no, step_no)
     cross join lateral (select k.state from tasker_step k where k.task_no = ended.task_no and k.step_no = ended.step_no offset 0) s
     group by 1 order by 1
  loop
    if v_task.task_no = any(v_recount) then
      perform tasker_recount_task(v_task.task_no);
      continue;
    end if;
    update tasker_task t set failed_count = t.failed_count + v_task.failed, cancelled_count = t.cancelled_count + v_task.cancelled
     where t.task_no = v_task.task_no;
    perform tasker_count_off(array(select o.task_no from unnest(p_task_nos || v_off) as o (task_no) where o.task_no = v_task.task_no));
  end loop;
end
$$;

-- source: functions/tasker_cancel_requests.sql 63593b7227a4
-- tasker_cancel_requests: which of these steps were asked to stop; an engine asks it about the steps it is running.
create or replace function tasker_cancel_requests (p_task_nos bigint[], p_step_nos int[])
  returns table (task_no bigint, step_no int)
  language sql stable
as $$
  select s.task_no, s.step_no
    from unnest(p_task_nos, p_step_nos) as wanted (task_no, step_no)
   cross join lateral (select k.task_no, k.step_no from tasker_step k
                        where k.task_no = wanted.task_no and k.step_no = wanted.step_no and k.state = 2 and k.cancel_requested offset 0) s
$$;

-- source: functions/tasker_cancel_step.sql 5a0279b9c0b0
-- tasker_cancel_step: an operator stops one step; what waits for it is cancelled with it, other branches go on.
--   moves  pending, ready, retrying -> cancelled, and its descendants; running is asked to stop
--   locks  as tasker_take_step, then the task
--   raises WF001 unknown task or step, WF002 when the step has ended     events step.cancelled
create or replace function tasker_cancel_step (p_task_id uuid, p_step_name text, p_actor text, p_reason text)
  returns text
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_step_no int := tasker_step_no(v_task_no, p_step_name);
  v_now timestamptz := tasker_clock();
  v_step tasker_step;
begin
  v_step := tasker_take_step(v_task_no, v_step_no);
  if v_step.state not in (0, 1, 2, 3) then
    raise exception 'the step is % already', tasker_state_name(v_step.state) using errcode = 'WF002';
  end if;
  if v_step.state = 2 then
    update tasker_step s set cancel_requested = true where s.task_no = v_task_no and s.step_no = v_step_no;
    insert into tasker_history (task_no, step_no, at, from_state, to_state, attempt, actor, reason, detail)
    values (v_task_no, v_step_no, v_now, 2, 2, v_step.attempts, p_actor, p_reason, '{"cancel_requested": true}');
    perform pg_notify('tasker_cancel', '');
  else
    perform tasker_leave_queue(v_task_no, v_step_no);
    update tasker_step s set state = 6, finished_at = v_now where s.task_no = v_task_no and s.step_no = v_step_no;
    insert into tasker_history (task_no, step_no, at, from_state, to_state, actor, reason)
    values (v_task_no, v_step_no, v_now, v_step.state, 6, p_actor, p_reason);
    perform tasker_block_descendants(array[v_task_no], array[v_step_no]);
  end if;
  perform pg_notify('tasker_news', '');
  return case when v_step.state = 2 then 'running' else 'cancelled' end;
end
$$;

-- source: functions/tasker_cancel_task.sql 39dd0fd28c1b
-- tasker_cancel_task: an operator stops a task.
--   moves  pending, ready, retrying steps -> cancelled; running ones are asked to stop; task -> cancelled, at once or when the last of them has ended
--   locks  as tasker_hold_tasks, then the task
--   raises WF001 unknown task, WF002 when it has ended     events step.cancelled, task.cancelled
create or replace function tasker_cancel_task (p_task_id uuid, p_actor text, p_reason text)
  returns text
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_now timestamptz := tasker_clock();
  v_task tasker_task;
  v_state smallint;
  v_left int[];
begin
  perform tasker_hold_tasks(array[v_task_no]);
  select t.* into v_task from tasker_task t where t.task_no = v_task_no for update;
  if not found then
    raise exception 'there is no task %', p_task_id using errcode = 'WF001';   -- dropped in this moment
  elsif v_task.finished_at is not null then
    raise exception 'the task is % already', tasker_state_name(v_task.state) using errcode = 'WF002';
  end if;
  update tasker_task t set cancel_requested_at = coalesce(t.cancel_requested_at, v_now) where t.task_no = v_task_no;
  -- a row that a claim has taken since is left to it, see tasker_leave_queue
  with gone as (
    delete from tasker_ready r
     where r.ctid = any(array(select q.ctid from tasker_ready q where q.task_no = v_task_no for update skip locked))
    returning r.step_no
  )
  select array_agg(g.step_no) into v_left from gone g;
  delete from tasker_waiting w where w.task_no = v_task_no and w.step_no = any(v_left);
  delete from tasker_delayed d
   where d.ctid = any(array(select q.ctid from tasker_delayed q where q.task_no = v_task_no for update skip locked));
  insert into tasker_history (task_no, step_no, at, from_state, to_state, actor, reason)
  select v_task_no, s.step_no, v_now, s.state, 6, p_actor, p_reason
    from tasker_step s where s.task_no = v_task_no and s.state in (0, 1, 3) order by s.step_no;
  update tasker_step s
     set state = case when s.state = 2 then 2 else 6 end, finished_at = case when s.state <> 2 then v_now end, cancel_requested = s.state = 2
   where s.task_no = v_task_no and s.state in (0, 1, 2, 3);
  perform pg_notify('tasker_cancel', '');
  v_state := tasker_recount_task(v_task_no, p_actor, p_reason);
  if v_state <> 6 then
    insert into tasker_history (task_no, at, from_state, to_state, actor, reason, detail)
    values (v_task_no, v_now, v_state, v_state, p_actor, p_reason, '{"cancel_requested": true}');
  end if;
  perform pg_notify('tasker_news', '');
  return tasker_state_name(v_state);
end
$$;

-- source: functions/tasker_claim_due_schedules.sql c7f1725d0c17
-- tasker_claim_due_schedules: the caller, and for p_lease nobody else, makes the tasks of these schedules and then advances them.
-- needs: tasker_clock
--   returns up to p_limit schedules that are due, the longest overdue first, and the clock by which they are
--   locks   their rows; those that another engine is claiming now are left to it, not waited for
-- A lease that runs out before its schedule is advanced harms nobody: the next engine asks for tasks under the same idempotency keys.
create or replace function tasker_claim_due_schedules (p_limit int, p_lease interval)
  returns table (schedule_id int, namespace text, name text, version text, kind text, expression text, time_zone text, context jsonb,
                 policy text, due_at timestamptz, clock timestamptz)
  language sql
as $$
  with now as materialized (select tasker_clock() as clock),
  due as materialized (
    select s.schedule_id
      from tasker_schedule s, now
     where not s.paused and s.next_run_at <= now.clock and (s.claimed_until is null or s.claimed_until <= now.clock)
     order by s.next_run_at, s.schedule_id
     limit p_limit
       for update of s skip locked
  ),
  claimed as (
    update tasker_schedule s
       set claimed_until = now.clock + p_lease
      from due, now
     where s.schedule_id = due.schedule_id
    returning s.*, now.clock
  )
  select c.schedule_id, c.namespace, c.name, c.version, c.kind, c.expression, c.time_zone, c.context, c.policy, c.next_run_at, c.clock
    from claimed c
   order by c.next_run_at, c.schedule_id
$$;

-- source: functions/tasker_claim_steps.sql a55511bec996
-- tasker_claim_steps: leases up to p_want ready steps to one worker: the namespaces take turns, and within one the best rank is first.
--   p_definitions  the definitions the worker has handlers for; steps of others stay for other engines, and stand in nobody's way
--   moves  ready -> running, and the task pending -> running; before that, what tasker_wake_due moves
--   locks  as tasker_wake_due; then ready rows (claimed elsewhere: skipped), steps, tasks
--   raises WF003 when the worker's lease is over                 events task.started, step.started, and those of tasker_wake_due
create or replace function tasker_claim_steps (p_worker int, p_claim_no int, p_want int, p_definitions int[])
  returns table (task_no bigint, step_no int, definition_id int, attempt smallint)
  language plpgsql
as $$
#variable_conflict use_column
declare
  v_now timestamptz := tasker_clock();
  v_began timestamptz := clock_timestamp();
  v_lane int;    -- the first that has steps; mostly it is the only one
  v_rank timestamptz;   -- of its first step: what stood before it is dead rows, which a transaction that is open for long keeps
  v_no bigint;
  v_other int;
  v_picked tid[];
begin
  if not exists (select from tasker_worker w where w.worker_id = p_worker and w.lease_until > v_now) then
    raise exception 'the lease of worker % is over', p_worker using errcode = 'WF003';
  end if;
  if exists (select from tasker_delayed d where d.run_at <= v_now) then
    perform tasker_wake_due(1000);
  end if;
  if coalesce(current_setting('tasker.heads', true), '') <> '' then
    v_picked := tasker_pick_steps(p_definitions, p_want);
  else
    select first.lane, first.rank, first.ready_no, other.lane into v_lane, v_rank, v_no, v_other
      from (select r.definition_id as lane, r.rank, r.ready_no from tasker_ready r order by r.definition_id, r.rank, r.ready_no limit 1) first
      left join lateral (select r.definition_id as lane from tasker_ready r where r.definition_id > first.lane
                          order by r.definition_id, r.rank, r.ready_no limit 1) other on true;
    if v_lane is null or v_lane > 0 and v_other is null and v_lane <> all(p_definitions) then
      return;
    end if;
    if v_lane < 0 or v_other is not null or clock_timestamp() - v_began > interval '1 ms' then
      v_picked := tasker_pick_steps(p_definitions, p_want);
    end if;
  end if;
  return query
  with taken as (
    delete from tasker_ready r
     where r.ctid = any(case when v_picked is not null then v_picked
                             else array(select q.ctid from tasker_ready q where q.definition_id = v_lane and (q.rank, q.ready_no) >= (v_rank, v_no)
                                         order by q.rank, q.ready_no limit p_want for update skip locked) end)
    returning r.task_no, r.step_no
  ),
  claimed as (
    update tasker_step s
       set state = 2, worker_id = p_worker, started_at = v_now, attempts = s.attempts + 1
      from (select t.task_no, t.step_no from taken t where abs(t.task_no) = t.task_no) taken   -- see tasker_complete_batch on abs
     where s.task_no = taken.task_no and s.step_no = taken.step_no and case when s.state = 1 then true end
    returning s.task_no, s.step_no, s.definition_id, s.attempts
  ),
  started as (
    update tasker_task t
       set state = 2, started_at = coalesce(t.started_at, v_now)
      from (select distinct c.task_no from claimed c order by 1) first
     where t.task_no = first.task_no and case when t.state = 0 then true end
    returning t.task_no
  ),
  history as (
    insert into tasker_history (task_no, step_no, at, from_state, to_state, attempt, worker_id)
    select b.task_no, null::int, v_now, 0::smallint, 2::smallint, null::smallint, p_worker from started b
    union all
    select c.task_no, c.step_no, v_now, 1::smallint, 2::smallint, c.attempts, p_worker from claimed c
  ),
  claim as (
    insert into tasker_claim as k (worker_id, claim_no, task_nos, step_nos)
    select p_worker, p_claim_no, array_agg(c.task_no), array_agg(c.step_no) from claimed c having count(*) > 0
    on conflict (worker_id, claim_no) do update
      set task_nos = k.task_nos || excluded.task_nos, step_nos = k.step_nos || excluded.step_nos
  )
  select c.task_no, c.step_no, c.definition_id, c.attempts from claimed c;
end
$$;

-- source: functions/tasker_clear_objects.sql a0a382e431d4
-- tasker_clear_objects: the folders are gone from the store.
create or replace function tasker_clear_objects (p_folders text[])
  returns void
  language sql
as $$
  delete from tasker_object_left f where f.folder = any(p_folders)
$$;

-- source: functions/tasker_complete_and_claim.sql 441a743f66f2
-- tasker_complete_and_claim: the engine's one round trip: report what ended well, take on more.
--   p_claim_no     the engine's own running number of this call; p_closed_claims: earlier ones of which every step has ended
--   p_want         steps it has room for; unlocked children are handed over first, at most p_hand of them (null: as many as there is room for)
--   p_definitions  what it has handlers for; then the queue is asked for the rest. Null: it knows the queue to be empty
--   returns the steps that are now leased to the worker, at most p_want
--   raises WF003 when the worker's lease is over; then nothing of this call holds
create or replace function tasker_complete_and_claim
  (p_worker int, p_claim_no int, p_task_nos bigint[], p_step_nos int[], p_attempts smallint[], p_results jsonb, p_want int,
   p_definitions int[], p_closed_claims int[], p_hand int default null)
  returns table (task_no bigint, step_no int, definition_id int, attempt smallint)
  language plpgsql
as $$
#variable_conflict use_column
declare
  v_handed int := 0;
  v_hand int := coalesce(p_hand, p_want);
begin
  if p_closed_claims is not null then
    delete from tasker_claim c where c.worker_id = p_worker and c.claim_no = any(p_closed_claims);
  end if;
  if cardinality(p_task_nos) > 3 then
    return query select * from tasker_complete_batch(p_worker, p_claim_no, p_task_nos, p_step_nos, p_attempts, p_results, v_hand);
    get diagnostics v_handed = row_count;
  elsif cardinality(p_task_nos) > 0 then
    return query select * from tasker_complete_few(p_worker, p_claim_no, p_task_nos, p_step_nos, p_attempts, p_results, v_hand);
    get diagnostics v_handed = row_count;
  end if;
  if p_definitions is not null and p_want > v_handed then
    return query select * from tasker_claim_steps(p_worker, p_claim_no, p_want - v_handed, p_definitions);
  elsif cardinality(p_task_nos) not between 1 and 3 and not exists (select from tasker_worker w where w.worker_id = p_worker and w.lease_until > tasker_clock()) then
    raise exception 'the lease of worker % is over', p_worker using errcode = 'WF003';
  end if;
end
$$;

-- source: functions/tasker_complete_batch.sql bc66e1fd922d
-- tasker_complete_batch: many steps end well in one statement; the core of the engine's speed.
--   p_task_nos, p_step_nos, p_attempts, p_results  one entry per step, sorted by task and step; results is one JSON array
--   p_want  how many unlocked children the worker takes on at once: they go straight to running, without standing in the queue
--   moves  running -> completed, pending -> running | ready | skipped, task -> its final state when its last counted step has ended
--   locks  own steps, then children by (task_no, step_no), then tasks by task_no; never another order: where a child is skipped, its own
--          children are locked before the tasks, so the tasks are counted off by a second statement
--   fence  a step not running under this worker in this attempt is left alone and its children too
--   events step.completed, step.started, step.skipped, task.completed | failed | cancelled
-- Plans must not depend on statistics: every join has to be driven by the small side through the primary key. So volatile columns stand
-- inside CASE, and comparisons that are always true (abs(x) = x) make the planner expect one row of what is in fact a few hundred.
create or replace function tasker_complete_batch
  (p_worker int, p_claim_no int, p_task_nos bigint[], p_step_nos int[], p_attempts smallint[], p_results jsonb, p_want int)
  returns table (task_no bigint, step_no int, definition_id int, attempt smallint)
  language plpgsql
as $$
#variable_conflict use_column
declare
  v_offset interval := tasker_clock() - clock_timestamp();
  v_handed_tasks bigint[];
  v_handed_steps int[];
  v_handed_definitions int[];
  v_handed_attempts smallint[];
  v_skipped_tasks bigint[];
  v_skipped_steps int[];
  v_counted_tasks bigint[];
begin
  with outcome as materialized (
    select o.task_no, o.step_no, o.attempt, o.result
      from rows from (unnest(p_task_nos), unnest(p_step_nos), unnest(p_attempts), jsonb_array_elements(p_results))
        as o (task_no, step_no, attempt, result)
     where abs(o.attempt) = o.attempt
  ),
  ended as (
    update tasker_step s
       set state = 4, result = outcome.result, error = null, worker_id = null, finished_at = clock_timestamp() + v_offset
      from outcome
     where s.task_no = outcome.task_no and s.step_no = outcome.step_no
       and case when s.state = 2 and s.worker_id = p_worker and s.attempts = outcome.attempt then true end
    returning s.task_no, s.step_no, s.attempts, s.children, s.counted, s.finished_at
  ),
  child as (
    select x.task_no, x.step_no, x.parents_done, row_number() over (order by x.task_no, x.step_no) as place
      from (select e.task_no, c.step_no, count(*)::int as parents_done
              from ended e, unnest(e.children) as c (step_no) group by 1, 2 having abs(count(*)) = count(*)) x
  ),
  unlocked as (
    update tasker_step s
       set pending = s.pending - child.parents_done,
           state = case when s.pending <> child.parents_done or s.state <> 0 then s.state
                        when s.bypass then 7 when child.place <= p_want and not (s.paused or s.gated) then 2 else 1 end,
           worker_id = case when s.pending <> child.parents_done or s.state <> 0 or s.bypass or s.paused or s.gated or child.place > p_want then s.worker_id else p_worker end,
           started_at = case when s.pending <> child.parents_done or s.state <> 0 or s.bypass or s.paused or s.gated or child.place > p_want then s.started_at
                             else clock_timestamp() + v_offset end,
           finished_at = case when s.pending = child.parents_done and s.state = 0 and s.bypass then clock_timestamp() + v_offset else s.finished_at end,
           attempts = case when s.pending <> child.parents_done or s.state <> 0 or s.bypass or s.paused or s.gated or child.place > p_want then s.attempts else s.attempts + 1 end
      from child
     where s.task_no = child.task_no and s.step_no = child.step_no
    returning s.task_no, s.step_no, s.definition_id, s.paused, s.gated, s.attempts, s.started_at, s.finished_at,
              case when s.pending = 0 and s.state in (1, 2, 7) and (s.state <> 2 or s.worker_id = p_worker) and (s.state <> 7 or s.bypass and not s.passed_over) then s.state end as state
  ),
  ready as (
    insert into tasker_ready (rank, task_no, step_no, definition_id)
    select case when u.paused then 'infinity' else clock_timestamp() + v_offset - (select t.priority from tasker_task t where t.task_no = u.task_no) * interval '1 minute' end,
           u.task_no, u.step_no, case when u.paused or u.gated then -u.definition_id else u.definition_id end
      from unlocked u where u.state = 1
  ),
  counted as (
    select e.task_no, count(*)::int as ended from ended e where e.counted and not exists (select from unlocked u where u.state = 7) group by 1 order by 1
  ),
  task as (
    update tasker_task t
       set remaining = t.remaining - counted.ended,
           state = case when t.remaining <> counted.ended then t.state
                        when t.cancel_requested_at is not null then 6 when t.failed_count > 0 then 5 when t.cancelled_count > 0 then 6 else 4 end,
           finished_at = case when t.remaining = counted.ended then clock_timestamp() + v_offset else t.finished_at end
      from counted
     where t.task_no = counted.task_no
    returning t.task_no, t.state, t.remaining, t.finished_at
  ),
  history as (
    insert into tasker_history (task_no, step_no, at, from_state, to_state, attempt, worker_id)
    select e.task_no, e.step_no, e.finished_at, 2::smallint, 4::smallint, e.attempts, p_worker from ended e
    union all
    select u.task_no, u.step_no, coalesce(u.finished_at, u.started_at), 0::smallint, u.state, case when u.state = 2 then u.attempts end,
           case when u.state = 2 then p_worker end
      from unlocked u where u.state in (2, 7)
    union all
    select t.task_no, null::int, t.finished_at, 2::smallint, t.state, null::smallint, p_worker from task t where t.remaining = 0
  ),
  claim as (
    insert into tasker_claim (worker_id, claim_no, task_nos, step_nos)
    select p_worker, p_claim_no, array_agg(u.task_no), array_agg(u.step_no) from unlocked u where u.state = 2 having count(*) > 0
  )
  select array_agg(u.task_no) filter (where u.state = 2), array_agg(u.step_no) filter (where u.state = 2),
         array_agg(u.definition_id) filter (where u.state = 2), array_agg(u.attempts) filter (where u.state = 2),
         array_agg(u.task_no) filter (where u.state = 7), array_agg(u.step_no) filter (where u.state = 7),
         case when bool_or(u.state = 7) then (select array_agg(e.task_no) from ended e where e.counted) end
    into v_handed_tasks, v_handed_steps, v_handed_definitions, v_handed_attempts, v_skipped_tasks, v_skipped_steps, v_counted_tasks
    from unlocked u;
  if v_skipped_tasks is not null then
    perform tasker_count_off(v_counted_tasks || tasker_unlock_children(v_skipped_tasks, v_skipped_steps), p_worker);
  end if;
  return query select * from unnest(v_handed_tasks, v_handed_steps, v_handed_definitions, v_handed_attempts);
end
$$;

-- source: functions/tasker_complete_few.sql 8655a143a1c5
-- tasker_complete_few: the same as tasker_complete_batch for up to three steps, without its start-up cost: 0.3 ms less per hop. The engine
-- calls it directly when it asks nothing of the queue.
--   moves, locks, fence, events  as tasker_complete_batch; a test holds the two equal. With fewer places than children they may hand over
--   different ones of the unlocked children: here the places are for those, there for all children
--   raises WF003 when the worker's lease is over; then nothing of this call holds
create or replace function tasker_complete_few
  (p_worker int, p_claim_no int, p_task_nos bigint[], p_step_nos int[], p_attempts smallint[], p_results jsonb, p_want int)
  returns table (task_no bigint, step_no int, definition_id int, attempt smallint)
  language plpgsql
as $$
#variable_conflict use_column
declare
  v_offset interval := tasker_clock() - clock_timestamp();
  v_now timestamptz;
  v_ended tasker_step;
  v_want int := p_want;
  v_child_tasks bigint[] := '{}';
  v_child_steps int[] := '{}';
  v_parents_done int[];
  v_task bigint;
  v_step int;
  v_parents int;
  v_counted_tasks bigint[] := '{}';
  v_handed_tasks bigint[];
  v_handed_steps int[];
  v_skipped_tasks bigint[];
  v_skipped_steps int[];
  v_state smallint;
  v_definition int;   -- negative when the child is parked
  v_paused boolean;
begin
  for i in 1 .. cardinality(p_task_nos) loop
    update tasker_step s
       set state = 4, result = p_results -> (i - 1), error = null, worker_id = null, finished_at = clock_timestamp() + v_offset
     where s.task_no = p_task_nos[i] and s.step_no = p_step_nos[i]
       and s.state = 2 and s.worker_id = p_worker and s.attempts = p_attempts[i]
    returning s.* into v_ended;
    continue when not found;
    insert into tasker_history (task_no, step_no, at, from_state, to_state, attempt, worker_id)
    values (v_ended.task_no, v_ended.step_no, v_ended.finished_at, 2, 4, v_ended.attempts, p_worker);
    if v_ended.children is not null then
      v_child_tasks := v_child_tasks || array_fill(v_ended.task_no, array[cardinality(v_ended.children)]);
      v_child_steps := v_child_steps || v_ended.children;
    end if;
    if v_ended.counted then
      v_counted_tasks := v_counted_tasks || v_ended.task_no;
    end if;
  end loop;

  -- the children of one step are distinct and in order already
  v_parents_done := array_fill(1, array[cardinality(v_child_steps)]);
  if cardinality(p_task_nos) > 1 and v_child_steps <> '{}' then
    select array_agg(x.task_no), array_agg(x.step_no), array_agg(x.parents_done) into v_child_tasks, v_child_steps, v_parents_done
      from (select c.task_no, c.step_no, count(*)::int as parents_done
              from unnest(v_child_tasks, v_child_steps) as c (task_no, step_no) group by 1, 2 order by 1, 2) x;
  end if;

  for i in 1 .. cardinality(v_child_steps) loop
    v_task := v_child_tasks[i];
    v_step := v_child_steps[i];
    v_parents := v_parents_done[i];
    update tasker_step s
       set pending = s.pending - v_parents,
           state = case when s.pending <> v_parents or s.state <> 0 then s.state
                        when s.bypass then 7 when v_want > 0 and not (s.paused or s.gated) then 2 else 1 end,
           worker_id = case when s.pending <> v_parents or s.state <> 0 or s.bypass or s.paused or s.gated or v_want <= 0 then s.worker_id else p_worker end,
           started_at = case when s.pending <> v_parents or s.state <> 0 or s.bypass or s.paused or s.gated or v_want <= 0 then s.started_at
                             else clock_timestamp() + v_offset end,
           finished_at = case when s.pending = v_parents and s.state = 0 and s.bypass then clock_timestamp() + v_offset else s.finished_at end,
           attempts = case when s.pending <> v_parents or s.state <> 0 or s.bypass or s.paused or s.gated or v_want <= 0 then s.attempts else s.attempts + 1 end
     where s.task_no = v_task and s.step_no = v_step
    returning case when s.pending = 0 and s.state in (1, 2, 7) and (s.state <> 2 or s.worker_id = p_worker) and (s.state <> 7 or s.bypass and not s.passed_over) then s.state end,
              case when s.paused or s.gated then -s.definition_id else s.definition_id end, s.paused, s.attempts, coalesce(s.finished_at, s.started_at)
         into v_state, v_definition, v_paused, attempt, v_now;
    if v_state = 2 then
      v_want := v_want - 1;
      v_handed_tasks := v_handed_tasks || v_task;
      v_handed_steps := v_handed_steps || v_step;
      insert into tasker_history (task_no, step_no, at, from_state, to_state, attempt, worker_id)
      values (v_task, v_step, v_now, 0, 2, attempt, p_worker);
      task_no := v_task;
      step_no := v_step;
      definition_id := v_definition;
      return next;
    elsif v_state = 7 then
      v_skipped_tasks := v_skipped_tasks || v_task;
      v_skipped_steps := v_skipped_steps || v_step;
      insert into tasker_history (task_no, step_no, at, from_state, to_state) values (v_task, v_step, v_now, 0, 7);
    elsif v_state = 1 then
      insert into tasker_ready (rank, task_no, step_no, definition_id)
      select case when v_paused then 'infinity' else clock_timestamp() + v_offset - t.priority * interval '1 minute' end, v_task, v_step, v_definition
        from tasker_task t where t.task_no = v_task;
    end if;
  end loop;

  if v_handed_tasks is not null then
    insert into tasker_claim (worker_id, claim_no, task_nos, step_nos) values (p_worker, p_claim_no, v_handed_tasks, v_handed_steps);
  end if;
  if v_skipped_tasks is not null then
    v_counted_tasks := v_counted_tasks || tasker_unlock_children(v_skipped_tasks, v_skipped_steps);
  end if;
  if v_counted_tasks <> '{}' then
    perform tasker_count_off(v_counted_tasks, p_worker);
  end if;
  if not exists (select from tasker_worker w where w.worker_id = p_worker and w.lease_until > tasker_clock()) then
    raise exception 'the lease of worker % is over', p_worker using errcode = 'WF003';
  end if;
end
$$;

-- source: functions/tasker_error_signature.sql 1ec688e61112
-- tasker_error_signature: what errors of one kind have in common: the type and the first line of the message, with numbers and ids left out.
--   An id is a UUID, eight hex digits or more, or a word of ten characters or more whose digits and capitals stand as in no name: cus_NffrFeUfNV2Hib, but
--   neither HTTPError404 nor OAuth2TokenError nor step_2_failed. What is in quotes is left out as a whole where it holds an id or a number.
--   changes nothing
create or replace function tasker_error_signature (p_error jsonb)
  returns text
  language sql
  immutable parallel safe
as $$
  -- a page asks for thousands of these, and captures and look-around take many times as long: so odd words are marked first, and the long ones of them taken out after that
  select left(coalesce(nullif(p_error ->> 'type', ''), 'Error') || ': ' || trim(
    regexp_replace(replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(
      left(split_part(coalesce(p_error ->> 'message', ''), E'\n', 1), 400),
      $odd$(?x) \m[\w-]*(?:
          [0-9][A-Za-z]+[0-9] | [0-9](?:[a-z]{4}|[A-Z]{4}) | [A-Za-z][0-9]+(?:[a-z]{2}|[A-Z]{2})   # digits amid letters, other than OAuth2Token, 30ms, k8s
        | [0-9][\w-]*[A-Z][a-z][A-Z] | [A-Z][a-z][A-Z][\w-]*[0-9]                                  # letters that are no words, with a digit
        | _[A-Za-z]*[A-Z](?:[a-z][A-Z]|[A-Za-z]*[0-9]+[A-Za-z])                                    # the same behind a prefix, if need be without one
      )[\w-]*$odd$, chr(1) || '\&', 'g'),
      '\x01[\w-]{10,}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}', '#', 'gi'),
      '\m(0x[0-9a-f]+|(?=[a-f]*[0-9])[0-9a-f]{8,})\M', '#', 'gi'),
      $left$(?x) [0-9]+(?:[.,:][0-9]+)*
        | (?<![^\s(\[{<=:,;/])["'`] [^"'`]*(?:[#]|(?<![\w.])[0-9]+(?:[.,:][0-9]+)*\M)[^"'`]* ["'`](?!\w)$left$, '#', 'g'),
      chr(1), ''),
      '\s+', ' ', 'g')), 200)
$$;

-- source: functions/tasker_failure_key.sql 9f96b094f90f
-- tasker_failure_key: the name of a group of failures: those of one step of one workflow, in all its versions, whose errors have one signature.
--   changes nothing
create or replace function tasker_failure_key (p_namespace text, p_name text, p_step_name text, p_signature text)
  returns text
  language sql
  immutable parallel safe
as $$
  select md5(p_namespace || E'\n' || p_name || E'\n' || p_step_name || E'\n' || p_signature)
$$;

-- source: functions/tasker_span_begin.sql 78578a758f4f
-- tasker_span_begin: when the minute, hour or day (grain 0, 1, 2) begins in which a moment lies; -infinity for grain 3, which is ever.
create or replace function tasker_span_begin (p_grain int, p_at timestamptz)
  returns timestamptz
  language sql immutable parallel safe
as $$
  select case p_grain when 0 then date_trunc('minute', p_at, 'UTC') when 1 then date_trunc('hour', p_at, 'UTC')
                      when 2 then date_trunc('day', p_at, 'UTC') else '-infinity' end
$$;

-- source: functions/tasker_count_failures.sql 77937271518e
-- tasker_count_failures: the failures of steps among the moves above p_after up to p_until are counted in their groups, by the hour and ever.
-- needs: tasker_error_signature, tasker_failure_key, tasker_span_begin
--   For tasker_roll_up alone, which holds the place.     locks  rows of the roll-up, which nobody else writes but tasker_prune_rollups
--   An item that a retry of its map step has laid aside by then is not counted: nothing tells any more of which step it was.
create or replace function tasker_count_failures (p_after bigint, p_until bigint)
  returns void
  language sql
  set enable_seqscan = off   -- plans must not depend on statistics: these few moves are a small part of the tables
as $$
  with failed as materialized (
    -- what somebody moved by hand has no detail of its own
    select tasker_failure_key(d.namespace, d.name, p.name, tasker_error_signature(coalesce(h.detail, s.error))) as failure, h.at
      from tasker_history h
     cross join lateral (select k.definition_id, coalesce(k.map_no, k.step_no) as template_no, k.error from tasker_step k
                          where k.task_no = h.task_no and k.step_no = h.step_no offset 0) s
     cross join lateral (select k.namespace, k.name from tasker_definition k where k.definition_id = s.definition_id offset 0) d
     cross join lateral (select k.name from tasker_template k where k.definition_id = s.definition_id and k.step_no = s.template_no offset 0) p
     where h.event_id > p_after and h.event_id <= p_until and h.to_state = 5 and h.from_state is distinct from 5 and h.step_no is not null
  )
  insert into tasker_failure_rollup as r (failure, begins_at, fail_count, first_at, last_at)
  select f.failure, span.begins_at, count(*), min(f.at), max(f.at)
    from failed f cross join lateral (values ('-infinity'::timestamptz), (tasker_span_begin(1, f.at))) as span (begins_at)
   group by 1, 2
  on conflict (failure, begins_at) do update
    set fail_count = r.fail_count + excluded.fail_count, first_at = least(r.first_at, excluded.first_at), last_at = greatest(r.last_at, excluded.last_at)
$$;

-- source: functions/tasker_count_moves.sql 0dfe8f1e51e2
-- tasker_count_moves: the moves above p_after up to p_until are added to the roll-ups, in every grain, and what they led steps to is noted.
--   For tasker_roll_up alone, which holds the place.     locks  rows of the roll-ups, which nobody else writes but tasker_prune_rollups
create or replace function tasker_count_moves (p_after bigint, p_until bigint)
  returns void
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: these few moves are a small part of the tables
as $$
begin
  with bin as (
    -- of each minute first: few rows are left for the other grains
    select m.definition_id, m.step_no, m.state, tasker_span_begin(0, m.at) as minute, width_bucket(extract(epoch from m.took)::float8, tasker_bin_limits()) + 1 as number,
           count(*) filter (where not m.undone) as move_count, count(*) filter (where m.undone) as undone_count, count(m.took) as timed_count,
           coalesce(sum(m.took), '0') as took, coalesce(max(m.took), '0') as longest,
           count(*) filter (where m.timed_out) as timeout_count, count(*) filter (where m.crashed) as crash_count
      from tasker_measure_moves(p_after, p_until) m
     group by 1, 2, 3, 4, 5
  ),
  graded as (
    select b.definition_id, whose.step_no, b.state, grain.no as grain, tasker_span_begin(grain.no, b.minute) as begins_at, b.number,
           sum(b.move_count)::bigint as move_count, sum(b.undone_count)::bigint as undone_count, sum(b.timed_count)::bigint as timed_count, sum(b.took) as took,
           max(b.longest) as longest, sum(b.timeout_count)::bigint as timeout_count, sum(b.crash_count)::bigint as crash_count
      from bin b
     cross join generate_series(0, 3) as grain (no)
     cross join lateral unnest(case when b.step_no is null then array[null::int] else array[b.step_no, -1] end) as whose (step_no)
     group by 1, 2, 3, 4, 5, 6
  ),
  span as materialized (
    select g.definition_id, g.step_no, g.state, g.grain::smallint as grain, g.begins_at, sum(g.move_count)::bigint as move_count,
           sum(g.undone_count)::bigint as undone_count, sum(g.timed_count)::bigint as timed_count, sum(g.took) as took, max(g.longest) as longest,
           sum(g.timeout_count)::bigint as timeout_count, sum(g.crash_count)::bigint as crash_count,
           tasker_bins(array_agg(g.number) filter (where g.number is not null), array_agg(g.timed_count) filter (where g.number is not null)) as bins
      from graded g
     group by 1, 2, 3, 4, 5
  ),
  tasks as (
    insert into tasker_task_rollup as r (definition_id, grain, state, begins_at, move_count, undone_count, timed_count, took, longest, bins)
    select s.definition_id, s.grain, s.state, s.begins_at, s.move_count, s.undone_count, s.timed_count, s.took, s.longest, s.bins
      from span s where s.step_no is null
    on conflict (definition_id, grain, state, begins_at) do update
      set move_count = r.move_count + excluded.move_count, undone_count = r.undone_count + excluded.undone_count, timed_count = r.timed_count + excluded.timed_count,
          took = r.took + excluded.took, longest = greatest(r.longest, excluded.longest), bins = tasker_add_bins(r.bins, excluded.bins)
  )
  insert into tasker_step_rollup as r
    (definition_id, grain, state, step_no, begins_at, move_count, undone_count, timed_count, took, longest, timeout_count, crash_count, bins)
  select s.definition_id, s.grain, s.state, s.step_no, s.begins_at, s.move_count, s.undone_count, s.timed_count, s.took, s.longest, s.timeout_count, s.crash_count, s.bins
    from span s where s.step_no is not null
  on conflict (definition_id, grain, state, step_no, begins_at) do update
    set move_count = r.move_count + excluded.move_count, undone_count = r.undone_count + excluded.undone_count, timed_count = r.timed_count + excluded.timed_count,
        took = r.took + excluded.took, longest = greatest(r.longest, excluded.longest), timeout_count = r.timeout_count + excluded.timeout_count,
        crash_count = r.crash_count + excluded.crash_count, bins = tasker_add_bins(r.bins, excluded.bins);

  with last as materialized (
    select distinct on (h.task_no, h.step_no) h.task_no, h.step_no, h.from_state, h.to_state, coalesce((h.detail ->> 'run_at')::timestamptz, h.at) as since
      from tasker_history h
     where h.event_id > p_after and h.event_id <= p_until and h.step_no is not null and h.from_state is distinct from h.to_state
     order by h.task_no, h.step_no, h.event_id desc
  ),
  noted as (
    insert into tasker_rollup_wait as w (task_no, step_no, state, since)
    select l.task_no, l.step_no, l.to_state, l.since from last l
     where l.to_state in (1, 3) or l.to_state = 0 and l.from_state = 2
    on conflict (task_no, step_no) do update set state = excluded.state, since = excluded.since
  )
  delete from tasker_rollup_wait w using last l
   where w.task_no = l.task_no and w.step_no = l.step_no and not (l.to_state in (1, 3) or l.to_state = 0 and l.from_state = 2);
end
$$;

-- source: functions/tasker_count_off.sql 312626aab2f2
-- tasker_count_off: takes ended steps off their tasks' count, and settles a task whose last counted step has ended.
--   p_task_nos  one entry per counted step that ended (a task may stand there several times)
--   moves  task -> completed; failed when a step is failed; cancelled on request, or when steps were cancelled and none failed
--   locks  tasks by task_no     events task.completed | failed | cancelled
create or replace function tasker_count_off (p_task_nos bigint[], p_worker int default null)
  returns void
  language plpgsql
as $$
declare
  v_off record;
  v_task record;
begin
  for v_off in select o.task_no, count(*)::int as ended from unnest(p_task_nos) as o (task_no) group by 1 order by 1 loop
    update tasker_task t
       set remaining = t.remaining - v_off.ended,
           state = case when t.remaining <> v_off.ended then t.state
                        when t.cancel_requested_at is not null then 6 when t.failed_count > 0 then 5 when t.cancelled_count > 0 then 6 else 4 end,
           finished_at = case when t.remaining = v_off.ended then tasker_clock() else t.finished_at end
     where t.task_no = v_off.task_no
    returning t.state, t.remaining, t.finished_at, t.started_at into v_task;
    if v_task.remaining = 0 then
      insert into tasker_history (task_no, at, from_state, to_state, worker_id)
      values (v_off.task_no, v_task.finished_at, case when v_task.started_at is null then 0 else 2 end, v_task.state, p_worker);
    end if;
  end loop;
end
$$;

-- source: functions/tasker_create_account.sql 3a1cfce35e57
-- tasker_create_account: somebody new may come in, with one role.
--   locks  the role     raises WF002 when the name is taken or the role is gone     audit tasker.account:create
create or replace function tasker_create_account (
  p_name text, p_password_hash text, p_outside_id text, p_role text, p_namespace text, p_actor text, p_address text
)
  returns int
  language plpgsql
as $$
declare
  v_account_id int;
begin
  perform tasker_need_role(p_role);
  insert into tasker_account (name, password_hash, outside_id, created_at, created_by)
  values (p_name, p_password_hash, p_outside_id, tasker_clock(), p_actor)
  on conflict do nothing returning account_id into v_account_id;
  if v_account_id is null then
    raise exception 'there is an account "%" already', p_name using errcode = 'WF002';
  end if;
  insert into tasker_grant (account_id, role, namespace) values (v_account_id, p_role, p_namespace);
  perform tasker_audit_note(p_actor, 'tasker.account:create', 'done', p_namespace, 'account ' || p_name, null, p_address, jsonb_build_object('role', p_role));
  return v_account_id;
end
$$;

-- source: functions/tasker_create_plain_task.sql d3a39ad8c3d9
-- tasker_create_plain_task: makes the task of a request that asks for nothing out of the ordinary, by one simple insert per table.
--   The one statement of tasker_create_tasks takes longer than these three together, the more so after a rest.
--   p_request  as one of tasker_create_tasks
--   returns the task's id; null, and nothing is made, for a request with an idempotency key, a start to come or steps to pass by, or of a definition no task has used
--   moves  roots -> ready     locks  none     events  none before the first claim
create or replace function tasker_create_plain_task (p_request jsonb)
  returns uuid
  language plpgsql
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now timestamptz := tasker_clock();
  v_task_no bigint;
  v_task_id uuid;
  v_request record;
begin
  perform pg_current_xact_id();   -- before the task takes its number: see tasker_index_words
  if coalesce(p_request ->> 'idempotency_key', p_request ->> 'run_at') is not null or coalesce(p_request ->> 'bypass_steps', '[]') <> '[]' then
    return null;
  end if;
  select field.* into v_request
    from jsonb_to_record(p_request) as field (definition_id int, context jsonb, initiator text, source_system text, reason text,
           tags text[], priority smallint, correlation_id text, traceparent text, parent_task_id uuid, parent_step text)
    join tasker_definition d on d.definition_id = field.definition_id and d.used;
  if not found then
    return null;
  end if;

  insert into tasker_task (task_no, task_id, definition_id, remaining, priority, context, tags, initiator, source_system, reason,
                           correlation_id, traceparent, parent_task_id, parent_step, created_at)
  values (nextval('tasker_task_no'), gen_random_uuid(), v_request.definition_id,
          (select count(*) from tasker_template p where p.definition_id = v_request.definition_id and p.children = '{}'),
          coalesce(v_request.priority, 0::smallint), coalesce(v_request.context, '{}'), coalesce(v_request.tags, '{}'), v_request.initiator, v_request.source_system, v_request.reason,
          v_request.correlation_id, v_request.traceparent, v_request.parent_task_id, v_request.parent_step, v_now)
  returning task_no, task_id into v_task_no, v_task_id;
  insert into tasker_step (task_no, step_no, definition_id, pending, state, retry_limit, counted, bypass, gated, children)
  select v_task_no, p.step_no, p.definition_id, cardinality(p.parents), case when p.parents = '{}' then 1 else 0 end,
         p.retry_limit, p.children = '{}', false, p.gated and p.for_each is null, nullif(p.children, '{}')
    from tasker_template p where p.definition_id = v_request.definition_id
   order by p.step_no;
  insert into tasker_ready (rank, task_no, step_no, definition_id)
  select v_now - coalesce(v_request.priority, 0::smallint) * interval '1 minute', v_task_no, p.step_no, case when p.gated and p.for_each is null then -p.definition_id else p.definition_id end
    from tasker_template p where p.definition_id = v_request.definition_id and p.parents = '{}'
   order by p.step_no;
  return v_task_id;
end
$$;

-- source: functions/tasker_create_tasks.sql 3f7feb06b545
-- tasker_create_tasks: makes tasks with all their steps, in one statement per table whatever their number.
--   p_requests  [{"definition_id", "context", "initiator", "source_system", "reason", "tags", "priority", "bypass_steps": [step names],
--                 "correlation_id", "traceparent", "parent_task_id", "parent_step", "idempotency_key", "fingerprint", "run_at"}], contexts already valid
--   p_notify    wake idle engines. NOTIFY lets one transaction of the whole server commit at a time: who commits at once notifies afterwards instead
--   returns one row per request in its order; created is false when the idempotency key named an earlier task
--   moves  roots -> ready (pending until run_at)     locks  idempotency keys, then definitions used for the first time, in order     events  none before the first claim
--   planned once in a session: a plan for every call took longer than what it plans
--   raises WF005 when a key was used with another request, WF001 for a definition that is unknown, or was replaced since it was looked up
create or replace function tasker_create_tasks (p_requests jsonb, p_notify boolean default true)
  returns table (place int, task_id uuid, created boolean)
  language plpgsql
  set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  v_now timestamptz := tasker_clock();
  v_keyed record;
  v_earlier record;
  v_id uuid;
  v_earlier_ids jsonb := '{}';
  v_ids jsonb := '{}';
  v_is_keyed boolean;
  v_is_unknown boolean;
  v_is_new boolean;
begin
  perform pg_current_xact_id();   -- before the tasks take their numbers: see tasker_index_words
  select bool_or(request.value ->> 'idempotency_key' is not null), bool_or(d.definition_id is null), bool_or(not d.used)
    into v_is_keyed, v_is_unknown, v_is_new
    from jsonb_array_elements(p_requests) as request (value) left join tasker_definition d on d.definition_id = (request.value ->> 'definition_id')::int;
  if v_is_unknown then
    raise exception 'a request names a definition that is not known' using errcode = 'WF001';
  end if;

  if v_is_keyed then
    for v_keyed in
      select request.place, request.value ->> 'idempotency_key' as key, request.value ->> 'fingerprint' as fingerprint, d.namespace, d.name
        from jsonb_array_elements(p_requests) with ordinality as request (value, place)
        join tasker_definition d on d.definition_id = (request.value ->> 'definition_id')::int
       where request.value ->> 'idempotency_key' is not null
       order by d.namespace, d.name, request.value ->> 'idempotency_key', request.place
    loop
      v_id := gen_random_uuid();
      insert into tasker_request_key (namespace, name, key, task_id, fingerprint)
      values (v_keyed.namespace, v_keyed.name, v_keyed.key, v_id, v_keyed.fingerprint)
      on conflict (namespace, name, key) do nothing;
      if found then
        v_ids := v_ids || jsonb_build_object(v_keyed.place, v_id);
        continue;
      end if;
      select k.task_id, k.fingerprint into v_earlier from tasker_request_key k
       where k.namespace = v_keyed.namespace and k.name = v_keyed.name and k.key = v_keyed.key;
      if v_earlier.fingerprint is distinct from v_keyed.fingerprint then
        raise exception 'the idempotency key "%" was used for another request', v_keyed.key using errcode = 'WF005';
      end if;
      v_earlier_ids := v_earlier_ids || jsonb_build_object(v_keyed.place, v_earlier.task_id);
    end loop;
  end if;
  if v_is_new then
    for v_keyed in
      select distinct (request.value ->> 'definition_id')::int as definition_id from jsonb_array_elements(p_requests) as request (value) order by 1
    loop
      update tasker_definition d set used = true where d.definition_id = v_keyed.definition_id and not d.used;
      if not found and not exists (select from tasker_definition d where d.definition_id = v_keyed.definition_id) then
        raise exception 'a definition was replaced before a task was made of it' using errcode = 'WF001', hint = 'look it up again';
      end if;
    end loop;
  end if;

  return query
  with request as materialized (
    select element.place::int, nextval('tasker_task_no') as task_no, coalesce((v_ids ->> element.place::text)::uuid, gen_random_uuid()) as task_id,
           field.definition_id, coalesce(field.context, '{}') as context, field.initiator, field.source_system, field.reason,
           coalesce(field.tags, '{}') as tags, coalesce(field.priority, 0::smallint) as priority, field.bypass_steps, field.correlation_id, field.traceparent,
           field.parent_task_id, field.parent_step,
           case when field.run_at > v_now then field.run_at end as run_at
      from jsonb_array_elements(p_requests) with ordinality as element (value, place),
           jsonb_to_record(element.value) as field (definition_id int, context jsonb, initiator text, source_system text, reason text,
             tags text[], priority smallint, bypass_steps text[], correlation_id text, traceparent text, parent_task_id uuid, parent_step text, run_at timestamptz)
     where not v_earlier_ids ? element.place::text
  ),
  template as materialized (   -- by key, however many definitions there are
    select t.* from (select distinct r.definition_id from request r) w
     cross join lateral (select * from tasker_template t where t.definition_id = w.definition_id offset 0) t
  ),
  task as (
    insert into tasker_task (task_no, task_id, definition_id, remaining, priority, context, tags, initiator, source_system, reason,
                             correlation_id, traceparent, parent_task_id, parent_step, run_at, created_at)
    select r.task_no, r.task_id, r.definition_id,
           (select count(*) from tasker_template p where p.definition_id = r.definition_id and p.children = '{}'),
           r.priority, r.context, r.tags, r.initiator, r.source_system, r.reason, r.correlation_id, r.traceparent, r.parent_task_id, r.parent_step, r.run_at, v_now
      from request r order by r.task_no
  ),
  step as (
    insert into tasker_step (task_no, step_no, definition_id, pending, state, retry_limit, counted, bypass, gated, children)
    select r.task_no, p.step_no, r.definition_id, cardinality(p.parents),
           case when p.parents = '{}' and r.run_at is null and not (p.name = any(coalesce(r.bypass_steps, '{}'))) then 1 else 0 end,
           p.retry_limit, p.children = '{}', p.name = any(coalesce(r.bypass_steps, '{}')), p.gated and p.for_each is null, nullif(p.children, '{}')
      from request r join template p using (definition_id)
     order by r.task_no, p.step_no
    returning tasker_step.task_no, tasker_step.step_no, tasker_step.definition_id, tasker_step.state, tasker_step.pending, tasker_step.gated
  ),
  ready as (
    insert into tasker_ready (rank, task_no, step_no, definition_id)
    select v_now - r.priority * interval '1 minute', s.task_no, s.step_no, case when s.gated then -s.definition_id else s.definition_id end
      from step s join request r using (task_no) where s.state = 1
     order by r.place, s.step_no
  ),
  delayed as (
    insert into tasker_delayed (run_at, task_no, step_no)
    select coalesce(r.run_at, v_now), s.task_no, s.step_no
      from step s join request r using (task_no) where s.state = 0 and s.pending = 0
  )
  select r.place, r.task_id, true from request r
  union all
  select earlier.key::int, earlier.value::uuid, false from jsonb_each_text(v_earlier_ids) as earlier (key, value)
  order by 1;
  if p_notify then
    perform pg_notify('tasker_ready', '');
  end if;
end
$$;

-- source: functions/tasker_decide_steps.sql e1a7d6004ee7
-- tasker_decide_steps: decisions end well: the children they chose go on, the others are passed over, and so is what only these lead to.
--   p_choices  one JSON list per step: the names of those of its children that go on
--   moves  running -> completed; children -> skipped, the chosen as tasker_unlock_children; task -> its state
--   locks  as tasker_hold_tasks, then the tasks     fence  state, worker and attempt     events step.completed, step.skipped, task.*
--   raises 22023 when a choice is no list of the step's children
create or replace function tasker_decide_steps (p_worker int, p_task_nos bigint[], p_step_nos int[], p_attempts smallint[], p_choices jsonb)
  returns void
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_decided record;
  v_step tasker_step;
  v_passed int[];
  v_ended int := 0;
begin
  perform tasker_hold_tasks(array(select distinct t.task_no from unnest(p_task_nos) as t (task_no) order by 1));
  for v_decided in
    select o.task_no, o.step_no, o.attempt, o.chosen
      from rows from (unnest(p_task_nos), unnest(p_step_nos), unnest(p_attempts), jsonb_array_elements(p_choices)) as o (task_no, step_no, attempt, chosen)
     order by o.task_no, o.step_no
  loop
    update tasker_step s
       set state = 4, result = v_decided.chosen, error = null, worker_id = null, finished_at = tasker_clock()
     where s.task_no = v_decided.task_no and s.step_no = v_decided.step_no
       and s.state = 2 and s.worker_id = p_worker and s.attempts = v_decided.attempt
    returning s.* into v_step;
    continue when not found;
    v_ended := v_ended + 1;
    insert into tasker_history (task_no, step_no, at, from_state, to_state, attempt, worker_id)
    values (v_step.task_no, v_step.step_no, v_step.finished_at, 2, 4, v_step.attempts, p_worker);
    v_passed := tasker_pass_over(v_step, v_decided.chosen) || v_step.step_no;
    perform tasker_unlock_children(array_fill(v_step.task_no, array[cardinality(v_passed)]), v_passed);
    perform tasker_recount_task(v_step.task_no);
  end loop;
  if v_ended > 0 then
    perform pg_notify('tasker_ready', '');
  end if;
end
$$;

-- source: functions/tasker_declare_limits.sql d4af2ac80726
-- tasker_declare_limits: the limits that a definition declares are in force, and those that it leaves out are not, unless an operator has set others.
--   p_definition  as tasker_register_definition takes it; a limit is {"at_once", "per_period", "period" in seconds, "key": [path in the context], "secret" key}
--   A limit is on the workflow of that name, whatever the version: what was registered last is what counts. Of a step that this version does not have
--   it says nothing: for tasks of older versions the limit on that holds.
--   locks  the limits, then their lines in order
create or replace function tasker_declare_limits (p_definition jsonb)
  returns void
  language plpgsql
as $$
begin
  insert into tasker_limit as l (namespace, name, step_name, key_path, at_once, per_period, period, declared)
  select p_definition ->> 'namespace', p_definition ->> 'name', x.step_name, array(select jsonb_array_elements_text(x.value -> 'key')),
         (x.value ->> 'at_once')::int, (x.value ->> 'per_period')::int, make_interval(secs => coalesce((x.value ->> 'period')::float8, 1)), x.value - 'secret'
    from (select '' as step_name, p_definition -> 'limit' as value
          union all
          select s.value ->> 'name', s.value -> 'limit' from jsonb_array_elements(p_definition -> 'steps') as s (value)) x
   where jsonb_typeof(x.value) = 'object'
   order by x.step_name
  on conflict (namespace, name, step_name) do update
    set declared = excluded.declared, key_path = excluded.key_path, period = excluded.period,
        key_is_secret = l.key_is_secret and l.key_path = excluded.key_path,
        at_once = case when l.changed_at is null then excluded.at_once else l.at_once end,
        per_period = case when l.changed_at is null then excluded.per_period else l.per_period end;

  update tasker_limit l
     set declared = '{}', at_once = case when l.changed_at is not null then l.at_once end, per_period = case when l.changed_at is not null then l.per_period end
    from (select '' as step_name, p_definition -> 'limit' as value
          union all
          select s.value ->> 'name', s.value -> 'limit' from jsonb_array_elements(p_definition -> 'steps') as s (value)) x
   where l.namespace = p_definition ->> 'namespace' and l.name = p_definition ->> 'name' and l.step_name = x.step_name
     and jsonb_typeof(x.value) is distinct from 'object' and l.declared <> '{}';

  -- where it allows more than before, nobody gives a place back
  perform tasker_look_again(l.limit_id)
    from (select k.limit_id from tasker_limit k
           where k.namespace = p_definition ->> 'namespace' and k.name = p_definition ->> 'name' order by k.limit_id) l;
end
$$;

-- source: functions/tasker_result_text.sql 138419ca4fe3
-- tasker_result_text: what a handler gets of an earlier step's result: its JSON, or @ and the key of the object that it lies in. No JSON begins so.
create or replace function tasker_result_text (p_task_no bigint, p_step_no int, p_result jsonb)
  returns text
  language sql stable
as $$
  select coalesce((select '@' || o.key from tasker_object o where o.task_no = p_task_no and o.step_no = p_step_no and o.key = p_result #>> '{$object,key}'), p_result::text)
$$;

-- source: functions/tasker_delivery_results.sql 3d59f679bbd3
-- tasker_delivery_results: results of earlier steps, by name, for the handler of a delivery; a skipped step's is null.
-- needs: tasker_result_text
--   a result that lies in the object store comes as tasker_result_text has it
create or replace function tasker_delivery_results (p_token uuid, p_names text[])
  returns table (step_name text, result text)
  language sql stable
as $$
  select p.name, case when r.result ? '$object' then tasker_result_text(r.task_no, r.step_no, r.result) else coalesce(r.result::text, 'null') end
    from tasker_delivery d
    join tasker_task t on t.task_no = d.task_no
    join tasker_template p on p.definition_id = t.definition_id and p.name = any(p_names)
    join tasker_step r on r.task_no = d.task_no and r.step_no = p.step_no and r.state in (4, 7, 8)
   where d.token = p_token
$$;

-- source: functions/tasker_disable_account.sql 43e8ff15eb86
-- tasker_disable_account: nobody comes in by this account any more, its sessions are over and its tokens count for nothing.
--   locks  the account     raises WF001; WF002 for the last administrator     audit tasker.account:update
create or replace function tasker_disable_account (p_name text, p_actor text, p_reason text, p_address text)
  returns void
  language plpgsql
as $$
declare
  v_account_id int := tasker_account_no(p_name);
begin
  update tasker_account a set disabled = true where a.account_id = v_account_id;
  perform tasker_need_admin();
  perform tasker_end_sessions(v_account_id);
  perform tasker_audit_note(p_actor, 'tasker.account:update', 'done', null, 'account ' || p_name, p_reason, p_address, '{"changed": "disabled"}');
end
$$;

-- source: functions/tasker_downstream.sql 7a0b246adb1b
-- tasker_downstream: what runs again when a step is retried with everything downstream: the step and all below it, by number, parents first.
--   Not among them, and so left as it is, what waits for a step that was cancelled and stays so, and what no decision leads to that is not
--   taken anew. Empty when that goes for the step itself.
create or replace function tasker_downstream (p_task_no bigint, p_step_no int)
  returns int[]
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_again int[] := '{}';
  v_below record;
begin
  for v_below in
    with recursive below (step_no) as (
      select p_step_no
      union
      select c.step_no
        from below b
       cross join lateral (select k.children from tasker_step k where k.task_no = p_task_no and k.step_no = b.step_no offset 0) s,
             unnest(s.children) as c (step_no)
    )
    select b.step_no, parent.cancelled, parent.unchosen, parent.over, p.parents
      from below b
     cross join lateral (select k.definition_id from tasker_step k where k.task_no = p_task_no and k.step_no = b.step_no offset 0) s
     cross join lateral (select k.name, k.parents from tasker_template k where k.definition_id = s.definition_id and k.step_no = b.step_no offset 0) p
     cross join lateral (
       select coalesce(array_agg(o.step_no) filter (where o.state = 6), '{}') as cancelled,
              coalesce(array_agg(o.step_no) filter (where o.decision and o.state in (4, 8) and o.result is not null and not o.result ? p.name), '{}') as unchosen,
              coalesce(array_agg(o.step_no) filter (where o.state = 7 and o.passed_over), '{}') as over
         from unnest(p.parents) as x (step_no)
        cross join lateral (select k.step_no, k.state, k.passed_over, k.result, t.decision
                              from tasker_step k join tasker_template t using (definition_id, step_no)
                             where k.task_no = p_task_no and k.step_no = x.step_no offset 0) o) parent
     order by b.step_no
  loop
    continue when v_below.step_no <> p_step_no and not v_below.parents && v_again
               or not v_below.cancelled <@ v_again or not v_below.unchosen <@ v_again
               or v_below.step_no = p_step_no and v_below.parents <> '{}' and v_below.over @> v_below.parents;
    v_again := v_again || v_below.step_no;
  end loop;
  return v_again;
end
$$;

-- source: functions/tasker_drop_batches.sql 521745aa246c
-- tasker_drop_batches: of the next few batches that ended long ago, those are gone whose tasks are all gone.
--   p_after  the number of the last batch that was looked at, 0 to begin with
--   moves, events  none     locks  the batches     returns the last one that was looked at; null when there are no more
create or replace function tasker_drop_batches (p_after bigint, p_limit int, p_kept interval)
  returns bigint
  language plpgsql
as $$
declare
  v_looked bigint[];
  v_old bigint[];
begin
  v_looked := array(select b.batch_id from tasker_batch b where b.batch_id > p_after order by b.batch_id limit p_limit);
  v_old := array(
    select b.batch_id from tasker_batch b
     where b.batch_id = any(v_looked) and b.finished_at < tasker_clock() - p_kept
       and not exists (select from tasker_batch_item i join tasker_task t using (task_id) where i.batch_id = b.batch_id)
       for update of b skip locked);
  delete from tasker_batch_item i where i.batch_id = any(v_old);
  delete from tasker_batch b where b.batch_id = any(v_old);
  return case when cardinality(v_looked) = p_limit then v_looked[p_limit] end;
end
$$;

-- source: functions/tasker_drop_deliveries.sql 222531c14f54
-- tasker_drop_deliveries: the sender waits for nothing any more; what was begun ends at the next beat of its place.
create or replace function tasker_drop_deliveries (p_sender uuid)
  returns void
  language sql
as $$
  with words as (
    delete from tasker_delivery_word w where w.sender = p_sender
  )
  delete from tasker_delivery d where d.sender = p_sender
$$;

-- source: functions/tasker_drop_notices.sql 9b71798c5216
-- tasker_drop_notices: what was told, or given up, so long ago is gone, at most p_limit at a time; returns how many.
--   moves, events  none     locks  the notices
create or replace function tasker_drop_notices (p_kept interval, p_limit int)
  returns int
  language plpgsql
as $$
declare
  v_count int;
begin
  delete from tasker_notice n
   where n.notice_id in (select o.notice_id from tasker_notice o
                          where coalesce(o.delivered_at, o.given_up_at) < tasker_clock() - p_kept order by o.notice_id limit p_limit for update skip locked);
  get diagnostics v_count = row_count;
  return v_count;
end
$$;

-- source: functions/tasker_drop_tasks.sql ef436b16b7d7
-- tasker_drop_tasks: a batch of a definition's tasks that are older than their namespace keeps them is gone, with everything about them.
--   p_after, p_limit, p_hold  as tasker_old_tasks has them
--   moves  none: what has not ended, and what a subscriber or the roll-ups have still to read, is left; and everything, where there is an
--          archive: who drops there writes first, between tasker_take_old_tasks and tasker_forget_tasks
--   locks  as tasker_take_old_tasks
--   returns looked_to  the last task that was looked at; null: there are no more. Then how many tasks and steps were dropped
create or replace function tasker_drop_tasks (p_definition int, p_after bigint, p_limit int, p_hold interval)
  returns table (looked_to bigint, task_count int, step_count int)
  language plpgsql
as $$
#variable_conflict use_column
declare
  v_task_nos bigint[];
begin
  task_count := 0;
  step_count := 0;
  if not exists (select from tasker_archives a join tasker_definition d using (namespace) where d.definition_id = p_definition and a.place is not null) then
    select k.looked_to, k.task_nos into looked_to, v_task_nos from tasker_take_old_tasks(p_definition, p_after, p_limit, p_hold) k;
    select f.task_count, f.step_count into task_count, step_count from tasker_forget_tasks(v_task_nos) f;
  end if;
  return next;
end
$$;

-- source: functions/tasker_effects.sql 809bbc58570b
-- tasker_effects: what became of each step, and of the task (step_no null), between two standings of it. Items of before, which a map step has made
--   anew since, are left out.
--   effect  kept       is as it was
--           reset      runs again: ready, or pending while it waits for others
--           unblocked  ready, or pending as before but no longer behind a failed step
--           skipped, resolved, cancelled
--           bypassed   will be skipped when its parents are done
--           stopping   runs, and was asked to stop
--           replaced   an item of a map step that makes its items anew
--           held       will not start until the task is resumed        released  may start again
--           reopened   the task goes on        ended  the task has come to its end
create or replace function tasker_effects (p_before tasker_standing[], p_after tasker_standing[])
  returns table (step_no int, map_no int, item_no int, from_state smallint, to_state smallint, effect text, attempts smallint, to_attempts smallint, finished_at timestamptz)
  language sql immutable
as $$
  select s.step_no, s.map_no, s.item_no, s.state, s.to_state,
         case
           when s.live and not s.to_live then 'replaced'
           when s.to_state <> s.state then
             case when s.step_no is null then case when s.to_state in (0, 2) then 'reopened' else 'ended' end
                  when s.to_state = 6 then 'cancelled' when s.to_state = 7 then 'skipped' when s.to_state = 8 then 'resolved'
                  when s.state = 0 then 'unblocked' else 'reset' end
           when s.to_stopping and not s.stopping then 'stopping'
           when s.to_bypass and not s.bypass then 'bypassed'
           when s.blocked and not s.to_blocked then 'unblocked'
           when s.to_paused <> s.paused and (s.step_no is null or s.state in (0, 1, 3)) then case when s.paused then 'released' else 'held' end
           else 'kept'
         end,
         s.attempts, s.to_attempts, s.finished_at
    from unnest(p_before, p_after) as s (step_no, map_no, item_no, state, attempts, finished_at, paused, stopping, bypass, blocked, live, context,
                                         to_step_no, to_map_no, to_item_no, to_state, to_attempts, to_finished_at, to_paused, to_stopping, to_bypass, to_blocked, to_live, to_context)
   where s.live
$$;

-- source: functions/tasker_enable_account.sql 4a8d452354c9
-- tasker_enable_account: a disabled account may come in again.
--   locks  the account     raises WF001     audit tasker.account:update
create or replace function tasker_enable_account (p_name text, p_actor text, p_reason text, p_address text)
  returns void
  language plpgsql
as $$
begin
  update tasker_account a set disabled = false where a.account_id = tasker_account_no(p_name);
  perform tasker_audit_note(p_actor, 'tasker.account:update', 'done', null, 'account ' || p_name, p_reason, p_address, '{"changed": "enabled"}');
end
$$;

-- source: functions/tasker_end_delivery.sql fa5acd5d595f
-- tasker_end_delivery: what came of a delivery waits for its sender, who reports it.
--   returns false when nobody waits for it any more
create or replace function tasker_end_delivery (p_token uuid, p_kind smallint, p_payload text)
  returns boolean
  language sql
as $$
  with ended as (
    update tasker_delivery d set kind = p_kind, payload = p_payload
     where d.token = p_token and d.place is not null and d.kind is null and d.lease_until > tasker_clock()
    returning d.sender
  )
  select exists (select pg_notify('tasker_delivered', e.sender::text) from ended e)
$$;

-- source: functions/tasker_end_notice.sql 5f9572ad8006
-- tasker_end_notice: what came of an attempt to tell: it was taken, or why not; after p_most attempts, or when it can never be taken, it is given up.
--   p_error  null: it was taken     p_is_final  no further attempt would help
--   moves, events  none     locks  the notice
create or replace function tasker_end_notice (p_notice_id bigint, p_attempt int, p_error text, p_is_final boolean, p_most int)
  returns void
  language plpgsql
as $$
begin
  update tasker_notice n
     set delivered_at = case when p_error is null then tasker_clock() end, error = p_error,
         given_up_at = case when p_error is not null and (p_is_final or n.attempts >= p_most) then tasker_clock() end
   where n.notice_id = p_notice_id and n.attempts = p_attempt and n.delivered_at is null and n.given_up_at is null;
end
$$;

-- source: functions/tasker_end_session.sql b23777d7ba6d
-- tasker_end_session: one session of an account is over, by its number; false when there was none.
--   audit sign_out
create or replace function tasker_end_session (p_account_id int, p_session_id int, p_actor text, p_address text)
  returns boolean
  language plpgsql
as $$
declare
  v_name text;
begin
  delete from tasker_session s using tasker_account a
   where a.account_id = p_account_id and s.account_id = a.account_id and s.session_id = p_session_id returning a.name into v_name;
  if v_name is null then
    return false;
  end if;
  perform tasker_audit_note(p_actor, 'sign_out', 'done', null, 'account ' || v_name, null, p_address);
  return true;
end
$$;

-- source: functions/tasker_end_sessions.sql 237037a5bf67
-- tasker_end_sessions: an account is signed out everywhere, but for the session that is named to stay.
create or replace function tasker_end_sessions (p_account_id int, p_but_hash bytea default null)
  returns void
  language sql
as $$
  delete from tasker_session s where s.account_id = p_account_id and s.session_hash is distinct from p_but_hash;
  delete from tasker_sign_in_link l where l.account_id = p_account_id
$$;

-- source: functions/tasker_end_sign_in.sql b1912d62db66
-- tasker_end_sign_in: what became of a try: failed, half (the second factor is still to come) or done. The first two of these speak of a password.
--   audit sign_in, but for a half one
create or replace function tasker_end_sign_in (p_sign_in_no bigint, p_outcome text, p_actor text, p_method text)
  returns void
  language plpgsql
as $$
declare
  v_address text;
begin
  update tasker_sign_in s set outcome = p_outcome where s.sign_in_no = p_sign_in_no returning s.address into v_address;
  if p_outcome <> 'half' then
    perform tasker_audit_note(p_actor, 'sign_in', case p_outcome when 'done' then 'done' else 'denied' end, null, 'account ' || p_actor, null, v_address,
                              jsonb_build_object('method', p_method));
  end if;
end
$$;

-- source: functions/tasker_event_horizon.sql 0ec7df764a13
-- tasker_event_horizon: the newest event there may be, and which transactions may still hold back older ones.
--   p_decided  the caller knows already that nothing up to here is yet to appear; while nothing is newer, it costs no transaction number
--   returns event_id    no event with a higher id existed at that moment
--           low_xid     every transaction below has ended
--           high_xid    every move up to event_id is of a transaction below: once a later call's low_xid reaches it, no event up to event_id is yet to appear
--   Every move locks or changes a row before it takes its number, so the transaction of a number taken by then is older than the one begun here.
create or replace function tasker_event_horizon (p_decided bigint default -1)
  returns table (event_id bigint, low_xid bigint, high_xid bigint)
  language plpgsql volatile
as $$
#variable_conflict use_column
begin
  event_id := 2 * coalesce(pg_sequence_last_value(pg_get_serial_sequence('tasker_history', 'event_id')::regclass), 0) + 1;
  -- A snapshot cannot say it: it knows nothing of a transaction begun after the last one that ended. So this one takes the next number itself, and writes nothing.
  high_xid := case when event_id > p_decided then pg_current_xact_id()::text::bigint else 0 end;
  -- each statement of a volatile function has a snapshot of its own
  low_xid := pg_snapshot_xmin(pg_current_snapshot())::text::bigint;
  return next;
end
$$;

-- source: functions/tasker_expand_step.sql d72b20a983f3
-- tasker_expand_step: a map step is due: it makes one item per element of its list and waits for them; when they are done, it ends with their results.
--   The engine calls it for every map step it claims, whichever of the two is due. The first costs no attempt, as the step will be claimed again.
--   moves  running -> pending, its items come into being as ready; -> completed with [] for an empty list, or when its items are done;
--          -> failed when the list is none (not_a_list) or too long (too_many_items)
--   locks  the map step, then its task; when it ends, as tasker_gather_items or tasker_fail_steps
--   fence  state, worker and attempt     raises 40001 when another map step of the task makes its items in this moment     events step.completed, step.failed
create or replace function tasker_expand_step (p_worker int, p_task_no bigint, p_step_no int, p_attempt smallint)
  returns void
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  c_items constant int := 10000;         -- of one map step
  c_steps constant int := 50000;         -- of one task, items included
  v_now timestamptz := tasker_clock();
  v_step tasker_step;
  v_template tasker_template;
  v_list jsonb;
  v_count int;
  v_steps int;
  v_items int;
  v_lost boolean;
  v_task tasker_task;
  v_problem jsonb;
begin
  select s.* into v_step from tasker_step s
   where s.task_no = p_task_no and s.step_no = p_step_no and s.state = 2 and s.worker_id = p_worker and s.attempts = p_attempt;
  if not found then
    return;
  end if;
  if v_step.first_item is not null and not v_step.cancel_requested then
    perform tasker_gather_items(p_worker, v_step);
    return;
  end if;

  select p.* into v_template from tasker_template p where p.definition_id = v_step.definition_id and p.step_no = p_step_no;
  -- a step that was skipped gives nothing to work on
  select case when o.state = 7 then '[]' else o.result #> v_template.for_each_path end into v_list
    from tasker_step o where o.task_no = p_task_no and o.step_no = v_template.for_each;
  v_count := case when jsonb_typeof(v_list) = 'array' then jsonb_array_length(v_list) end;
  select t.item_count, d.step_count + t.item_count + v_count into v_items, v_steps
    from tasker_task t join tasker_definition d using (definition_id) where t.task_no = p_task_no;
  v_problem := case
    when v_step.cancel_requested then jsonb_build_object('type', 'cancelled', 'message', 'stopped on request')
    when v_count is null then jsonb_build_object('type', 'not_a_list', 'message', format('%s, which gives this step its items, is %s, not a list',
      (select array_to_string(p.name || v_template.for_each_path, '.') from tasker_template p where p.definition_id = v_step.definition_id and p.step_no = v_template.for_each),
      coalesce(case jsonb_typeof(v_list) when 'object' then 'an object' when 'null' then null else 'a ' || jsonb_typeof(v_list) end, 'nothing')))
    when v_count > c_items then jsonb_build_object('type', 'too_many_items', 'message', format('the list has %s items; the limit is %s', v_count, c_items))
    when v_steps > c_steps then jsonb_build_object('type', 'too_many_items', 'message', format('the task would have %s steps; the limit is %s', v_steps, c_steps))
  end;
  if v_problem is not null then
    perform tasker_fail_steps(p_worker, array[p_task_no], array[p_step_no], array[p_attempt],
                              jsonb_build_array(v_problem || '{"code": null, "traceback": "", "retryable": false, "delay": null}'));
    return;
  end if;

  if v_count = 0 then
    update tasker_step s set first_item = 0, item_count = 0
     where s.task_no = p_task_no and s.step_no = p_step_no and s.state = 2 and s.worker_id = p_worker and s.attempts = p_attempt;
    perform from tasker_complete_few(p_worker, 0, array[p_task_no], array[p_step_no], array[p_attempt], '[[]]', 0);
    return;
  end if;

  perform from tasker_step s
    where s.task_no = p_task_no and s.step_no = p_step_no and s.state = 2 and s.worker_id = p_worker and s.attempts = p_attempt and not s.cancel_requested
      for update;
  if not found then
    raise exception 'the map step has moved' using errcode = '40001';
  end if;
  select t.* into v_task from tasker_task t where t.task_no = p_task_no for update;
  if v_task.item_count <> v_items then
    raise exception 'another map step has made its items' using errcode = '40001';
  end if;
  v_items := v_items + v_count;
  v_lost := v_task.failed_count + v_task.cancelled_count > 0;   -- then every step that can move is counted, see tasker_recount_task
  update tasker_task t
     set item_count = v_items, remaining = t.remaining + case when v_lost then v_count else 0 end
   where t.task_no = p_task_no;
  update tasker_step s
     set state = 0, worker_id = null, attempts = s.attempts - 1, pending = v_count, first_item = -v_items, item_count = v_count
   where s.task_no = p_task_no and s.step_no = p_step_no;
  insert into tasker_history (task_no, step_no, at, from_state, to_state, worker_id, reason)
  values (p_task_no, p_step_no, v_now, 2, 0, p_worker, format('made %s %s', v_count, case when v_count = 1 then 'item' else 'items' end));
  insert into tasker_step (task_no, step_no, definition_id, pending, state, retry_limit, counted, paused, gated, children, map_no, item_no, item)
  select p_task_no, element.place::int - 1 - v_items, v_step.definition_id, 0, 1, v_template.retry_limit,
         v_lost, v_task.paused, v_template.gated, array[p_step_no], p_step_no, element.place::int - 1, element.value
    from jsonb_array_elements(v_list) with ordinality as element (value, place);
  insert into tasker_ready (rank, task_no, step_no, definition_id)
  select case when v_task.paused then 'infinity' else v_now - v_task.priority * interval '1 minute' end, p_task_no, place - v_items,
         case when v_task.paused or v_template.gated then -v_step.definition_id else v_step.definition_id end
    from generate_series(0, v_count - 1) as place;
  perform pg_notify('tasker_ready', '');
end
$$;

-- source: functions/tasker_fail_steps.sql 09fa6b583613
-- tasker_fail_steps: attempts that ended badly: each goes into its back-off, or ends for good.
--   p_errors  one JSON object per step: {"type", "message", "code", "traceback", "retryable": bool, "delay": seconds or null}, and "uncharged": true
--             when what failed was neither the handler nor its data: the attempt is given back
--   moves  running -> retrying while attempts are left and the error is retryable, or when it is uncharged; -> cancelled when it was asked to stop; else -> failed
--   locks  queue rows of tasks to be counted anew, own steps and what can move in those tasks by (task_no, step_no), then as tasker_block_descendants
--   fence  state, worker and attempt
--   events step.failed, then step.retried when a retry is set; step.cancelled; task.failed | cancelled
create or replace function tasker_fail_steps (p_worker int, p_task_nos bigint[], p_step_nos int[], p_attempts smallint[], p_errors jsonb)
  returns void
  language plpgsql
as $$
declare
  v_lost record;
  v_step tasker_step;
  v_now timestamptz;
  v_run_at timestamptz;
  v_error jsonb;
  v_state smallint;
  v_uncharged boolean;
  v_recount bigint[];
  v_ended_tasks bigint[];
  v_ended_steps int[];
begin
  select array_agg(o.task_no), array_agg(o.step_no) into v_ended_tasks, v_ended_steps
    from rows from (unnest(p_task_nos), unnest(p_step_nos), jsonb_array_elements(p_errors)) as o (task_no, step_no, error)
   cross join lateral (select k.attempts, k.retry_limit, k.cancel_requested from tasker_step k
                        where k.task_no = o.task_no and k.step_no = o.step_no offset 0) s
   where s.cancel_requested
      or not coalesce((o.error ->> 'uncharged')::boolean, false) and (s.attempts >= s.retry_limit or not coalesce((o.error ->> 'retryable')::boolean, false));
  v_recount := tasker_recount_due(v_ended_tasks, v_ended_steps);
  perform tasker_hold_queues(v_recount);
  perform tasker_hold_steps(p_task_nos, p_step_nos, v_recount);
  v_ended_tasks := null;
  v_ended_steps := null;
  for v_lost in
    select o.task_no, o.step_no, o.attempt, o.error
      from rows from (unnest(p_task_nos), unnest(p_step_nos), unnest(p_attempts), jsonb_array_elements(p_errors)) as o (task_no, step_no, attempt, error)
     order by o.task_no, o.step_no
  loop
    select s.* into v_step from tasker_step s
     where s.task_no = v_lost.task_no and s.step_no = v_lost.step_no
       and s.state = 2 and s.worker_id = p_worker and s.attempts = v_lost.attempt;
    continue when not found;
    v_now := tasker_clock();
    v_error := v_lost.error - array['retryable', 'delay', 'uncharged'];
    v_uncharged := not v_step.cancel_requested and coalesce((v_lost.error ->> 'uncharged')::boolean, false);
    v_state := case when v_step.cancel_requested then 6
                    when v_uncharged or (v_lost.error ->> 'retryable')::boolean and v_step.attempts < v_step.retry_limit then 3 else 5 end;
    v_run_at := case when v_state = 3 then v_now + tasker_backoff(v_step.definition_id, coalesce(v_step.map_no, v_step.step_no), v_step.attempts, (v_lost.error ->> 'delay')::float8) end;
    update tasker_step s
       set state = v_state, attempts = s.attempts - v_uncharged::int, worker_id = null, error = v_error, finished_at = case when v_state <> 3 then v_now end
     where s.task_no = v_step.task_no and s.step_no = v_step.step_no;
    insert into tasker_history (task_no, step_no, at, from_state, to_state, attempt, worker_id, detail)
    values (v_step.task_no, v_step.step_no, v_now, 2, v_state, v_step.attempts, p_worker,
            v_error || case when v_state = 3 then jsonb_build_object('run_at', v_run_at) else '{}' end || case when v_uncharged then '{"uncharged": true}' else '{}' end::jsonb);
    if v_state = 3 then
      insert into tasker_delayed (run_at, task_no, step_no) values (v_run_at, v_step.task_no, v_step.step_no);
    else
      v_ended_tasks := v_ended_tasks || v_step.task_no;
      v_ended_steps := v_ended_steps || v_step.step_no;
    end if;
  end loop;
  if v_ended_tasks is not null then
    perform tasker_block_descendants(v_ended_tasks, v_ended_steps);
  end if;
end
$$;

-- source: functions/tasker_find_heads.sql db243b25afbc
-- tasker_find_heads: where each lane of the queue begins now: its first step. Parked steps are in no lane.
--   A transaction that is open for long keeps the rows of all steps that left the queue since, and each look walks over them. So what a look over
--   more than c_far pages found is kept for this session, for twenty times as long as the look took (tasker_known_heads): it costs a twentieth then,
--   and a step that comes to stand before a head is taken that much later.
create or replace function tasker_find_heads ()
  returns tasker_head[]
  language plpgsql
as $$
declare
  c_far constant int := 64;
  v_began timestamptz := clock_timestamp();
  v_read bigint := pg_stat_get_xact_blocks_fetched('tasker_ready'::regclass);
  v_is_far boolean;
  v_took interval;
  v_lane int := 0;
  v_head tasker_head;
  v_heads tasker_head[] := '{}';
begin
  loop   -- from one lane that has steps to the next
    select r.definition_id, r.rank, r.ready_no into v_head from tasker_ready r where r.definition_id > v_lane order by r.definition_id, r.rank, r.ready_no limit 1;
    exit when not found;
    v_lane := v_head.lane;
    v_heads := v_heads || v_head;
  end loop;
  v_took := clock_timestamp() - v_began;
  v_is_far := pg_stat_get_xact_blocks_fetched('tasker_ready'::regclass) - v_read > c_far + cardinality(v_heads);
  perform set_config('tasker.heads', case when v_is_far then v_heads::text else '' end, false);
  perform set_config('tasker.heads_until', (clock_timestamp() + least(20 * v_took, interval '1 s'))::text, false);
  return v_heads;
end
$$;

-- source: functions/tasker_find_steps.sql 6be81a1402dc
-- tasker_find_steps: the steps whose last error has all these words, those of the newest tasks first, behind (p_task_no, p_step_no), of these definitions; null: of all.
--   Where a word is common, the newest are enough; where it is not, the index has few.
--   What it looks at is bounded, whoever asks: the newest 5,000 of all; where they have too few, the 10,000 that the index names first, in no order; where it
--   names more, the newest 20,000 of these definitions, as many of each. A step that is in none of them is not found: its words are on 10,000 others, and it is old.
create or replace function tasker_find_steps (p_query tsquery, p_definitions int[], p_task_no bigint, p_step_no int, p_limit int)
  returns table (task_no bigint, step_no int)
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: what is asked for is a small part of the table
  set enable_sort = off      -- nor may the newest be found by sorting all: the keys have their order
as $$
#variable_conflict use_column
declare
  c_newest constant int := 5000;
  c_hits constant int := 10000;
  c_own constant int := 20000;
  v_each int := greatest(c_own / greatest(cardinality(p_definitions), 1), 1);   -- of each definition
  v_found bigint[];   -- as tasker_step_id says them: in the order asked for
  v_more bigint[];
  v_hits int;
begin
  select array_agg(tasker_step_id(w.task_no, w.step_no)) into v_found
    from (select k.* from tasker_step_words k where (k.task_no, k.step_no) < (p_task_no, p_step_no) order by k.task_no desc, k.step_no desc limit c_newest offset 0) w
   where w.words @@ p_query and (p_definitions is null or w.definition_id = any(p_definitions));
  if coalesce(cardinality(v_found), 0) < p_limit then
    -- apart, or a plan that knows how few are taken may walk the key through all steps instead
    with hit as materialized (
      select w.task_no, w.step_no, w.definition_id from tasker_step_words w where w.words @@ p_query
    )
    select array_agg(tasker_step_id(h.task_no, h.step_no))
             filter (where (h.task_no, h.step_no) < (p_task_no, p_step_no) and (p_definitions is null or h.definition_id = any(p_definitions))), count(*) into v_more, v_hits
      from (select hit.* from hit limit c_hits) h;
    v_found := v_found || v_more;
    if v_hits = c_hits then
      select array_agg(tasker_step_id(n.task_no, n.step_no)) into v_more
        from (select w.task_no, w.step_no
                from unnest(p_definitions) as d (definition_id)
               -- an equality would let the planner walk the steps of all definitions by their number instead
               cross join lateral (select k.* from tasker_step_words k
                                    where k.definition_id >= d.definition_id and (k.definition_id, k.task_no, k.step_no) < (d.definition_id, p_task_no, p_step_no)
                                    order by k.definition_id desc, k.task_no desc, k.step_no desc limit v_each) w
               where w.words @@ p_query
              union all
              select w.task_no, w.step_no
                from (select k.* from tasker_step_words k where p_definitions is null and (k.task_no, k.step_no) < (p_task_no, p_step_no)
                       order by k.task_no desc, k.step_no desc limit c_own offset 0) w
               where w.words @@ p_query) n;
      v_found := v_found || v_more;
    end if;
  end if;
  return query
  select f.task_no, f.step_no from (select distinct unnest(v_found) as step_id) n cross join lateral tasker_step_place(n.step_id) f
   order by n.step_id desc limit p_limit;
end
$$;

-- source: functions/tasker_find_tasks.sql 2a1a296e2304
-- tasker_find_tasks: the newest tasks with all these words, below p_before, of these definitions; null: of all.
--   Where a word is common, the newest tasks are enough; where it is not, the index has few. Tasks that are not there yet are looked through, 500 at most.
--   What it looks at is bounded, whoever asks: the newest 5,000 of all; where they have too few, the 10,000 that the index names first, in no order; where it
--   names more, the newest 20,000 of these definitions, as many of each. A task that is in none of them is not found: its words are on 10,000 others, and it is old.
--   p_names  how names of secrets end. If some of them were not yet known to whoever wrote the words down, those count for nothing.
create or replace function tasker_find_tasks (p_query tsquery, p_definitions int[], p_before bigint, p_limit int, p_names text[])
  returns table (task_no bigint)
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: what is asked for is a small part of the tables
  set enable_sort = off      -- nor may the newest be found by sorting all: the key has their order
as $$
#variable_conflict use_column
declare
  c_newest constant int := 5000;
  c_hits constant int := 10000;
  c_own constant int := 20000;
  v_each int := greatest(c_own / greatest(cardinality(p_definitions), 1), 1);   -- of each definition
  v_tasks_to bigint := coalesce((select p.tasks_to from tasker_words_place p where p_names <@ p.names), 0);
  v_below bigint := least(p_before, v_tasks_to + 1);
  v_names text[] := array(select unnest(p_names) union select unnest(p.names) from tasker_words_place p);
  v_found bigint[];
  v_more bigint[];
  v_hits int;
begin
  select array_agg(n.task_no) into v_found
    from (select t.task_no
            from (select k.* from tasker_task k where k.task_no > v_tasks_to and k.task_no < p_before order by k.task_no desc limit 500) t
           where tasker_words(tasker_searchable(t.context, t.definition_id, v_names), t.tags, array[t.initiator, t.source_system, t.reason, t.correlation_id]) @@ p_query
             and (p_definitions is null or t.definition_id = any(p_definitions))
          union all
          select w.task_no
            from (select k.* from tasker_task_words k where k.task_no < v_below order by k.task_no desc limit c_newest offset 0) w
           where w.words @@ p_query and (p_definitions is null or w.definition_id = any(p_definitions))) n;
  if coalesce(cardinality(v_found), 0) < p_limit then
    -- apart, or a plan that knows how few are taken may walk the key through all tasks instead
    with hit as materialized (
      select w.task_no, w.definition_id from tasker_task_words w where w.words @@ p_query
    )
    select array_agg(h.task_no) filter (where h.task_no < v_below and (p_definitions is null or h.definition_id = any(p_definitions))), count(*) into v_more, v_hits
      from (select hit.* from hit limit c_hits) h;
    v_found := v_found || v_more;
    if v_hits = c_hits then
      select array_agg(n.task_no) into v_more
        from (select t.task_no
                from unnest(p_definitions) as d (definition_id)
               cross join lateral tasker_latest_tasks(d.definition_id, v_each, v_below) t
               cross join lateral (select k.words from tasker_task_words k where k.task_no = t.task_no offset 0) w
               where w.words @@ p_query
              union all
              select w.task_no
                from (select k.* from tasker_task_words k where p_definitions is null and k.task_no < v_below order by k.task_no desc limit c_own offset 0) w
               where w.words @@ p_query) n;
      v_found := v_found || v_more;
    end if;
  end if;
  return query select n.task_no from (select distinct unnest(v_found) as task_no) n order by n.task_no desc limit p_limit;
end
$$;

-- source: functions/tasker_follow_archive.sql 86911ef93506
-- tasker_follow_archive: a namespace has no archive of its own any more and follows the default.
--   raises WF001 unknown namespace
create or replace function tasker_follow_archive (p_namespace text)
  returns void
  language plpgsql
as $$
begin
  if not exists (select from tasker_namespace n where n.namespace = p_namespace) then
    raise exception 'there is no namespace "%"', p_namespace using errcode = 'WF001';
  end if;
  delete from tasker_archive a where a.namespace = p_namespace;
end
$$;

-- source: functions/tasker_follow_retention.sql 234857c212ff
-- tasker_follow_retention: a namespace has no retention of its own any more and follows the default.
--   raises WF001 unknown namespace
create or replace function tasker_follow_retention (p_namespace text)
  returns void
  language plpgsql
as $$
begin
  update tasker_namespace n
     set retention = null, retention_set_by = null, retention_set_at = null
   where n.namespace = p_namespace;
  if not found then
    raise exception 'there is no namespace "%"', p_namespace using errcode = 'WF001';
  end if;
end
$$;

-- source: functions/tasker_follow_task.sql afcc75d95cc3
-- tasker_follow_task: an account is told of the task's end; asked for twice, it is told once.
--   moves, events  none     raises  WF001 unknown task, WF002 when it has ended
create or replace function tasker_follow_task (p_task_id uuid, p_account_id int, p_channel text, p_target text, p_link text)
  returns void
  language plpgsql
as $$
declare
  v_task_no bigint := tasker_task_no(p_task_id);
begin
  if exists (select from tasker_task t where t.task_no = v_task_no and t.finished_at is not null) then
    raise exception 'the task has ended' using errcode = 'WF002';
  end if;
  insert into tasker_follower (task_no, account_id, channel, target, link, since)
  values (v_task_no, p_account_id, p_channel, p_target, p_link, tasker_clock())
  on conflict (task_no, account_id, channel, target) do nothing;
end
$$;

-- source: functions/tasker_forget_subscription.sql ca4a324b5fd3
-- tasker_forget_subscription: a subscriber that will not come back has no place in the events any more, and nothing waits for it.
--   What was laid aside for it goes too. Should its code come back, it is a new one.
--   returns how many events were laid aside     moves, events  none     locks  the subscription, then what was laid aside, as tasker_lay_aside_event does
--   raises WF001 when there is none of that name, WF002 while an engine delivers to it
create or replace function tasker_forget_subscription (p_name text)
  returns int
  language plpgsql
as $$
declare
  v_lease_until timestamptz;
  v_count int;
begin
  select s.lease_until into v_lease_until from tasker_subscription s where s.name = p_name for update;
  if not found then
    raise exception 'there is no subscription "%"', p_name using errcode = 'WF001';
  end if;
  if v_lease_until > tasker_clock() then
    raise exception 'an engine delivers to "%" now; stop it, or start it without that subscriber', p_name using errcode = 'WF002';
  end if;
  delete from tasker_undelivered u where u.name = p_name;
  get diagnostics v_count = row_count;
  delete from tasker_subscription s where s.name = p_name;
  return v_count;
end
$$;

-- source: functions/tasker_forget_tasks.sql 8c2e49d41453
-- tasker_forget_tasks: the tasks are gone, with everything about them; the folders of their objects are put down as left. Only for those that tasker_take_old_tasks has just given to this transaction.
--   moves  none: they have ended
--   locks  none: the caller holds them
--   A claim that names an ended step is its engine's to forget, and harms nobody until then.
create or replace function tasker_forget_tasks (p_task_nos bigint[])
  returns table (task_count int, step_count int)
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: these few tasks are a small part of the tables
as $$
#variable_conflict use_column
declare
  v_task_ids uuid[] := (select array_agg(t.task_id) from tasker_task t where t.task_no = any(p_task_nos));
begin
  insert into tasker_object_left (folder, left_at)
  select distinct split_part(o.key, '/', 1) || '/' || split_part(o.key, '/', 2), tasker_clock() from tasker_object o where o.task_no = any(p_task_nos)
  on conflict (folder) do nothing;

  -- everything that is kept about a task; a new table keyed by task_no belongs here
  delete from tasker_step s where s.task_no = any(p_task_nos);
  get diagnostics step_count = row_count;
  delete from tasker_object o where o.task_no = any(p_task_nos);
  delete from tasker_history h where h.task_no = any(p_task_nos);
  delete from tasker_log l where l.task_no = any(p_task_nos);
  delete from tasker_progress p where p.task_no = any(p_task_nos);
  delete from tasker_rollup_wait w where w.task_no = any(p_task_nos);
  delete from tasker_task_words w where w.task_no = any(p_task_nos);
  delete from tasker_step_words w where w.task_no = any(p_task_nos);
  delete from tasker_follower f where f.task_no = any(p_task_nos);
  delete from tasker_notice n where n.task_no = any(p_task_nos);
  delete from tasker_custom_event c where c.task_no = any(p_task_nos);
  delete from tasker_undelivered u where u.event ->> 'task_id' = any(v_task_ids::text[]);
  delete from tasker_request_key k where k.task_id = any(v_task_ids);
  delete from tasker_task t where t.task_no = any(p_task_nos);
  get diagnostics task_count = row_count;
  return next;
end
$$;

-- source: functions/tasker_free_count.sql fc7e65d0d0b7
-- tasker_free_count: how many more may go on in one line now, by its places; a place not yet started counts within the period.
create or replace function tasker_free_count (p_limit tasker_limit, p_key text)
  returns int
  language sql
  stable
as $$
  select least(p_limit.at_once - count(*) filter (where not h.ended),
               p_limit.per_period - count(*) filter (where coalesce(h.started_at, tasker_clock()) > tasker_clock() - p_limit.period), 2147483647)::int
    from tasker_place h where h.limit_id = p_limit.limit_id and h.key = p_key
$$;

-- source: functions/tasker_free_places.sql fe964a84031a
-- tasker_free_places: something of these tasks has ended: the lines in which they have places are looked at by the next claim.
--   returns how many lines that are     locks  the lines, in order
create or replace function tasker_free_places (p_task_nos bigint[])
  returns int
  language plpgsql
as $$
declare
  v_now timestamptz := tasker_clock();
  v_lines int;
begin
  with line as materialized (
    select n.limit_id, n.key from tasker_line n
     where (n.limit_id, n.key) in (select h.limit_id, h.key from tasker_place h where h.task_no = any(p_task_nos)) and n.due_at > v_now
     order by n.limit_id, n.key for update
  )
  update tasker_line n set due_at = v_now from line where n.limit_id = line.limit_id and n.key = line.key;
  get diagnostics v_lines = row_count;
  return v_lines;
end
$$;

-- source: functions/tasker_front.sql eda4c16dfb02
-- tasker_front: the first p_most steps of the whole queue, the best rank first, whichever lane they stand in; parked ones are not among them.
--   p_namespaces  only those of these namespaces; null: of all
--   returns definition_id  of the steps     lane  where they stand, which is what an engine has to serve: another one than the definition's for steps that need labels
--   It reads p_most rows of each lane, never all of the queue.
create or replace function tasker_front (p_most int, p_namespaces text[] default null)
  returns table (task_no bigint, step_no int, definition_id int, rank timestamptz, ready_no bigint, lane int)
  language sql
  stable
as $$
  with recursive lane (lane) as (
    select (select r.definition_id from tasker_ready r where r.definition_id > 0 order by r.definition_id, r.rank, r.ready_no limit 1)
    union all
    select (select r.definition_id from tasker_ready r where r.definition_id > lane.lane order by r.definition_id, r.rank, r.ready_no limit 1)
      from lane where lane.lane is not null
  )
  select h.task_no, h.step_no, d.definition_id, h.rank, h.ready_no, lane.lane
    from lane
   cross join lateral (select k.definition_id, k.namespace from tasker_definition k
                       where k.definition_id = coalesce((select l.definition_id from tasker_lane l where l.lane = lane.lane), lane.lane) offset 0) d
   cross join lateral (select q.task_no, q.step_no, q.rank, q.ready_no from tasker_ready q where q.definition_id = lane.lane order by q.rank, q.ready_no limit p_most) h
   where p_namespaces is null or d.namespace = any(p_namespaces)
   order by h.rank, h.ready_no
   limit p_most
$$;

-- source: functions/tasker_gate_reason.sql a3649ebe5ffa
-- tasker_gate_reason: what a ready step that is gated waits for, in words; null when it is an engine like any other step.
create or replace function tasker_gate_reason (p_task_no bigint, p_step_no int)
  returns text
  language plpgsql stable
as $$
declare
  v_labels text[];
  v_definition_id int;
  v_waiting tasker_waiting;
  v_limit tasker_limit;
begin
  select p.labels, s.definition_id into v_labels, v_definition_id
    from tasker_step s join tasker_template p on p.definition_id = s.definition_id and p.step_no = coalesce(s.map_no, s.step_no)
   where s.task_no = p_task_no and s.step_no = p_step_no;
  select w.* into v_waiting from tasker_waiting w where w.task_no = p_task_no and w.step_no = p_step_no order by w.rank desc limit 1;
  if found then
    select l.* into v_limit from tasker_limit l where l.limit_id = v_waiting.limit_id;
    return tasker_limit_reason(v_limit, v_waiting.key);
  end if;
  if v_labels <> '{}' and not exists (
      select from tasker_worker w join tasker_lane l on l.lane = any(w.definitions)
       where l.definition_id = v_definition_id and l.labels = v_labels and w.lease_until > tasker_clock() and not w.draining) then
    return format('an engine with the %s %s; none is running now', case when cardinality(v_labels) = 1 then 'label' else 'labels' end, array_to_string(v_labels, ', '));
  end if;
  return null;
end
$$;

-- source: functions/tasker_gather_items.sql dafe60f77ca0
-- tasker_gather_items: a map step whose items are done ends with the list of their results, in order; an item that was skipped gives null.
--   p_step  the map step, running under the worker
--   moves  running -> completed, children as tasker_complete_few; -> failed when the results are too large together (result_too_large)
--   locks, fence, events  as tasker_complete_few, or tasker_fail_steps
create or replace function tasker_gather_items (p_worker int, p_step tasker_step)
  returns void
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  c_bytes constant bigint := 16777216;   -- of all results as text
  v_bytes bigint;
begin
  select sum(octet_length(s.result::text) + 2) into v_bytes
    from tasker_step s
   where s.task_no = p_step.task_no and s.step_no >= p_step.first_item and s.step_no < p_step.first_item + p_step.item_count;
  if v_bytes > c_bytes then
    perform tasker_fail_steps(p_worker, array[p_step.task_no], array[p_step.step_no], array[p_step.attempts], jsonb_build_array(jsonb_build_object(
      'type', 'result_too_large', 'message', format('the results of the items are %s bytes together; the limit is %s', v_bytes, c_bytes),
      'code', null, 'traceback', '', 'retryable', false, 'delay', null)));
    return;
  end if;
  -- it began when it made its items, not when they were done
  update tasker_step s
     set started_at = (select min(h.at) from tasker_history h
                        where h.task_no = p_step.task_no and h.step_no = p_step.step_no and h.to_state = 2 and h.attempt = p_step.attempts)
   where s.task_no = p_step.task_no and s.step_no = p_step.step_no and s.state = 2 and s.worker_id = p_worker and s.attempts = p_step.attempts;
  perform from tasker_complete_few(p_worker, 0, array[p_step.task_no], array[p_step.step_no], array[p_step.attempts],
    (select jsonb_build_array(jsonb_agg(coalesce(s.result, 'null') order by s.step_no))
       from tasker_step s
      where s.task_no = p_step.task_no and s.step_no >= p_step.first_item and s.step_no < p_step.first_item + p_step.item_count), 0);
end
$$;

-- source: functions/tasker_get_ready_steps.sql 0ee9df471d8f
-- tasker_get_ready_steps: which steps of a task may run now.
--   returns no rows when the task is not one of this namespace and name, or is paused
create or replace function tasker_get_ready_steps (p_namespace text, p_task_name text, p_task_id uuid)
  returns table (step_id bigint, step_name text, attempts smallint, retry_limit smallint, ready_since timestamptz)
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
#variable_conflict use_column
declare
  v_task_no bigint;
begin
  select t.task_no into v_task_no from tasker_task t join tasker_definition d using (definition_id)
   where t.task_id = p_task_id and d.namespace = p_namespace and d.name = p_task_name;
  return query
  select tasker_step_id(s.task_no, s.step_no), tasker_step_name(p.name, s.item_no), s.attempts, s.retry_limit, waiting.since
    from (select r.step_no, r.rank as since from tasker_ready r where r.task_no = v_task_no and (r.definition_id > 0 or r.rank < 'infinity')
          union all
          select d.step_no, d.run_at from tasker_delayed d where d.task_no = v_task_no and d.run_at <= tasker_clock()
             and not (select t.paused from tasker_task t where t.task_no = v_task_no)) waiting
   -- lateral by key: a join may be planned as a walk through all steps of the task, depending on what was analysed, and when
   cross join lateral (select k.task_no, k.step_no, k.map_no, k.item_no, k.definition_id, k.attempts, k.retry_limit, k.state, k.bypass from tasker_step k
                        where k.task_no = v_task_no and k.step_no = waiting.step_no offset 0) s
   cross join lateral (select k.name from tasker_template k where k.definition_id = s.definition_id and k.step_no = coalesce(s.map_no, s.step_no) offset 0) p
   where s.state in (0, 1, 3) and not (s.state = 0 and s.bypass)
   order by s.step_no;
end
$$;

-- source: functions/tasker_grant_role.sql 498818611128
-- tasker_grant_role: an account has a role in a namespace, or without one everywhere.
--   locks  the account, the role     raises WF001; WF002 when the role is gone     audit tasker.account:update
create or replace function tasker_grant_role (p_name text, p_role text, p_namespace text, p_actor text, p_reason text, p_address text)
  returns void
  language plpgsql
as $$
begin
  perform tasker_need_role(p_role);
  insert into tasker_grant (account_id, role, namespace) values (tasker_account_no(p_name), p_role, p_namespace) on conflict do nothing;
  perform tasker_audit_note(p_actor, 'tasker.account:update', 'done', p_namespace, 'account ' || p_name, p_reason, p_address, jsonb_build_object('granted', p_role));
end
$$;

-- source: functions/tasker_grants.sql 3f9de1a56b2e
-- tasker_grants: what an account has been given: role, namespace (null: everywhere), and the permissions of a role that is not built in.
create or replace function tasker_grants (p_account_id int)
  returns jsonb
  language sql stable
as $$
  select coalesce(jsonb_agg(jsonb_build_array(g.role, g.namespace, r.permissions) order by g.role, g.namespace), '[]')
    from tasker_grant g left join tasker_role r using (role) where g.account_id = p_account_id
$$;

-- source: functions/tasker_heads.sql a62ae57711a4
-- tasker_heads: who is first in each place where steps wait for one of these lanes: the lanes, arrivals that nobody has seen yet, and lines that are due.
--   An engine that is full asks now and then: where the same one is still first, it has left somebody standing.
create or replace function tasker_heads (p_lanes int[])
  returns table (place text, head text)
  language plpgsql
  stable
as $$
declare
  v_lane int := -2147483647;
  v_head record;
begin
  loop
    select r.definition_id, r.rank, r.ready_no into v_head from tasker_ready r
     where r.definition_id > v_lane order by r.definition_id, r.rank, r.ready_no limit 1;
    exit when not found;
    v_lane := v_head.definition_id;
    if v_head.rank < 'infinity' and abs(v_lane) = any(p_lanes) then
      place := 'lane ' || v_lane;
      head := v_head.ready_no;
      return next;
    end if;
  end loop;
  return query
  select 'line ' || n.limit_id || ' ' || n.key, n.due_at::text from tasker_line n
   where n.due_at <= tasker_clock()
     and exists (select from tasker_waiting w where w.limit_id = n.limit_id and w.key = n.key and w.lane = any(p_lanes))
   order by n.due_at limit 10;
end
$$;

-- source: functions/tasker_heartbeat.sql 12f58c36eaec
-- tasker_heartbeat: the worker lives; its lease runs p_lease from now.
--   returns true; false when the lease was over already: then its steps may run elsewhere and it must stop working under this id
create or replace function tasker_heartbeat (p_worker int, p_lease interval, p_definitions int[], p_draining boolean, p_figures jsonb default null)
  returns boolean
  language sql
as $$
  with renewed as (
    update tasker_worker w
       set seen_at = tasker_clock(), lease_until = tasker_clock() + p_lease, definitions = p_definitions, draining = p_draining,
           figures = coalesce(p_figures, w.figures),
           server_started_at = case when w.server_started_at is not null then pg_postmaster_start_time() end
     where w.worker_id = p_worker and w.lease_until > tasker_clock()
    returning w.worker_id
  )
  select exists (select from renewed)
$$;

-- source: functions/tasker_hide_keys.sql d169c217b8e8
-- tasker_hide_keys: the keys of limits that a definition calls secret are masked from now on, be they so by its schema or by a name that was added to the settings.
--   p_definition  as tasker_declare_limits takes it     moves  none     locks  the limits that change     raises none     events none
create or replace function tasker_hide_keys (p_definition jsonb)
  returns void
  language sql
as $$
  update tasker_limit l set key_is_secret = true
    from (select '' as step_name, p_definition -> 'limit' as value
          union all
          select s.value ->> 'name', s.value -> 'limit' from jsonb_array_elements(p_definition -> 'steps') as s (value)) x
   where (x.value ->> 'secret')::boolean and not l.key_is_secret and l.key_path = array(select jsonb_array_elements_text(x.value -> 'key'))
     and l.namespace = p_definition ->> 'namespace' and l.name = p_definition ->> 'name' and l.step_name = x.step_name
$$;

-- source: functions/tasker_hold_queues.sql c9b4857edbf1
-- tasker_hold_queues: nothing of these tasks is claimed or woken until the caller's transaction ends.
--   A claim that takes a step from the queue must never wait for it: whoever goes on to lock waiting steps locks their queue rows first.
--   The order of all locks: queue rows, the reporter's own steps, other steps by (task_no, step_no), tasks by task_no.
--   locks  ready rows, then delayed rows, each by (task_no, step_no)
create or replace function tasker_hold_queues (p_task_nos bigint[])
  returns void
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
begin
  perform from tasker_ready r where r.task_no = any(p_task_nos) order by r.task_no, r.step_no, r.ready_no for update;
  perform from tasker_delayed d where d.task_no = any(p_task_nos) order by d.task_no, d.step_no, d.run_at for update;
end
$$;

-- source: functions/tasker_hold_steps.sql 538d17e72ff1
-- tasker_hold_steps: these steps move only by the caller until its transaction ends, and so does everything in the whole tasks.
--   p_whole  tasks of which every step that can still move is held; their queue rows are held already, see tasker_hold_queues
--   locks  steps by (task_no, step_no), whichever of the two they are named for, and of every whole task step 0 too, whatever its state: who leads
--          steps back out of a good end holds it as well, so that either sees what the other has done
--   raises 40001 when a step came to move in this moment, led back or made by a map step: it is not held, and the caller starts again
create or replace function tasker_hold_steps (p_task_nos bigint[], p_step_nos int[], p_whole bigint[])
  returns void
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_nos bigint[];
  v_step_nos int[];
begin
  select array_agg(held.task_no) filter (where held.moves), array_agg(held.step_no) filter (where held.moves) into v_task_nos, v_step_nos
    from (select k.task_no, k.step_no, true as moves from tasker_step k where k.task_no = any(p_whole) and k.state in (0, 1, 2, 3, 5)
          union all select s.task_no, s.step_no, true from unnest(p_task_nos, p_step_nos) as s (task_no, step_no)
          union all select w.task_no, 0, false from unnest(p_whole) as w (task_no)
           order by 1, 2) held
   cross join lateral (select from tasker_step k where k.task_no = held.task_no and k.step_no = held.step_no for update) s;
  -- step 0 and every map step that can move are held by now, so what a new snapshot does not show will not come. Except, unlike a join, is
  -- quadratic by no plan
  if p_whole <> '{}' and exists (
      select k.task_no, k.step_no from tasker_step k where k.task_no = any(p_whole) and k.state in (0, 1, 2, 3, 5)
      except select h.task_no, h.step_no from unnest(v_task_nos, v_step_nos) as h (task_no, step_no)) then
    raise exception 'a step came to move while the task was being held' using errcode = '40001';
  end if;
end
$$;

-- source: functions/tasker_hold_tasks.sql a6a8a3023eb7
-- tasker_hold_tasks: nothing of these tasks moves but by the caller, until its transaction ends.
--   locks  their queue rows, then as tasker_hold_steps every step that can still move; the caller may then lock the tasks
--   raises 40001 as tasker_hold_steps
create or replace function tasker_hold_tasks (p_task_nos bigint[])
  returns void
  language plpgsql
as $$
begin
  perform tasker_hold_queues(p_task_nos);
  perform tasker_hold_steps(null, null, p_task_nos);
end
$$;

-- source: functions/tasker_index_words.sql dc1bfaf205bc
-- tasker_index_words: the next tasks and failures can be found by their words, up to p_limit of each.
--   moves  none     locks  the one row of tasker_words_place, for which nobody waits: whoever finds it held leaves the work to its holder
--   Tasks go by their number, once nothing below can still appear: a creation takes its transaction number first, as this call does last. Failures follow the
--   roll-ups, which have decided that. Call it in a transaction of its own.     events none
--   What was read before the row was held may be older than the row: the place never goes back for it.
--   p_names  how names of secrets end; with one that was not known before, all tasks are written down anew, and are found only by then. None is forgotten.
--   returns whether more can be done at once
create or replace function tasker_index_words (p_limit int, p_names text[])
  returns boolean
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: these few rows are a small part of the tables
as $$
declare
  v_place tasker_words_place;
  v_last bigint := coalesce(pg_sequence_last_value('tasker_task_no'), 0);
  v_moves_to bigint := coalesce((select p.counted_to from tasker_rollup_place p), 0);
  v_xid bigint;
  v_low_xid bigint;
  v_tasks_to bigint;
  v_tasks int := 0;
  v_moves int;
begin
  select p.* into v_place from tasker_words_place p;
  if not found then
    insert into tasker_words_place (names) values (p_names) on conflict do nothing;
    return true;
  end if;
  if v_place.tasks_to >= v_last and v_place.moves_to >= v_moves_to and p_names <@ v_place.names then
    return false;
  end if;
  v_xid := pg_current_xact_id()::text::bigint;
  v_low_xid := pg_snapshot_xmin(pg_current_snapshot())::text::bigint;
  select p.* into v_place from tasker_words_place p for update skip locked;
  if not found then
    return false;
  end if;
  if not p_names <@ v_place.names then
    update tasker_words_place p set tasks_to = 0, names = array(select unnest(p.names) union select unnest(p_names) order by 1);
    return true;
  end if;

  v_tasks_to := v_place.tasks_to;
  if v_low_xid >= v_place.known_xid and v_place.known_to > v_place.tasks_to then
    select max(t.task_no), count(*) into v_tasks_to, v_tasks
      from (select k.task_no from tasker_task k where k.task_no > v_place.tasks_to and k.task_no <= v_place.known_to order by k.task_no limit p_limit) t;
    v_tasks_to := case when v_tasks = p_limit then v_tasks_to else v_place.known_to end;
    insert into tasker_task_words (task_no, definition_id, words)
    select t.task_no, t.definition_id, tasker_words(tasker_searchable(t.context, t.definition_id, v_place.names), t.tags, array[t.initiator, t.source_system, t.reason, t.correlation_id])
      from tasker_task t where t.task_no > v_place.tasks_to and t.task_no <= v_tasks_to
    on conflict (task_no) do update set words = excluded.words;
  end if;

  select max(h.event_id), count(*) into v_moves_to, v_moves
    from (select k.event_id from tasker_history k where k.event_id > v_place.moves_to and k.event_id <= v_moves_to order by k.event_id limit 5 * p_limit) h;
  v_moves_to := coalesce(v_moves_to, v_place.moves_to);
  insert into tasker_step_words as w (task_no, step_no, definition_id, words)
  select f.task_no, f.step_no, s.definition_id, to_tsvector('simple', left(concat_ws(' ', f.detail ->> 'type', f.detail ->> 'code', f.detail ->> 'message'), 16384))
    from (select distinct on (h.task_no, h.step_no) h.task_no, h.step_no, h.detail from tasker_history h
           where h.event_id > v_place.moves_to and h.event_id <= v_moves_to and h.to_state in (3, 5) and h.detail ? 'message' and h.step_no is not null
           order by h.task_no, h.step_no, h.event_id desc) f
   cross join lateral (select k.definition_id from tasker_step k where k.task_no = f.task_no and k.step_no = f.step_no offset 0) s
  on conflict (task_no, step_no) do update set words = excluded.words;
  -- a retry may have changed the context
  update tasker_task_words w set words = tasker_words(tasker_searchable(t.context, t.definition_id, v_place.names), t.tags, array[t.initiator, t.source_system, t.reason, t.correlation_id])
    from tasker_history h, tasker_task t
   where h.event_id > v_place.moves_to and h.event_id <= v_moves_to and h.step_no is null and h.detail ? 'context_before'
     and t.task_no = h.task_no and w.task_no = h.task_no;

  update tasker_words_place p
     set tasks_to = v_tasks_to, moves_to = v_moves_to,
         known_to = case when v_tasks_to >= v_place.known_to then greatest(v_last, v_tasks_to) else p.known_to end,
         known_xid = case when v_tasks_to >= v_place.known_to then v_xid else p.known_xid end;
  return v_tasks = p_limit or v_moves = 5 * p_limit;
end
$$;

-- source: functions/tasker_is_passed_over.sql d4b66a84ff37
-- tasker_is_passed_over: whether no way leads to a step: a decision before it did not choose it, or every step before it was passed over.
--   A decision that was skipped, or moved by hand without a result, has chosen all. Asked when the parents are done, or held by the caller.
create or replace function tasker_is_passed_over (p_task_no bigint, p_step_no int)
  returns boolean
  language sql stable
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
  select coalesce(bool_or(o.decision and o.state in (4, 8) and o.result is not null and not o.result ? o.child) or bool_and(o.state = 7 and o.passed_over), false)
    from (select k.definition_id from tasker_step k where k.task_no = p_task_no and k.step_no = p_step_no offset 0) s
   cross join lateral (select p.name, p.parents from tasker_template p where p.definition_id = s.definition_id and p.step_no = p_step_no offset 0) own
   cross join unnest(own.parents) as parent (step_no)
   cross join lateral (select own.name as child, p.decision, k.state, k.passed_over, k.result
                         from tasker_step k join tasker_template p using (definition_id, step_no)
                        where k.task_no = p_task_no and k.step_no = parent.step_no offset 0) o
$$;

-- source: functions/tasker_keep_failure_note.sql 1b1610663c7e
-- tasker_keep_failure_note: what is known of a group of failures takes the place of what was; with nothing in it, nothing is known any more.
--   moves, events  none     locks  the note
create or replace function tasker_keep_failure_note (
  p_failure text, p_namespace text, p_owner text, p_note text, p_runbook text, p_until timestamptz, p_actor text
)
  returns void
  language plpgsql
as $$
begin
  if coalesce(p_owner, p_note, p_runbook, p_until::text) is null then
    delete from tasker_failure_note n where n.failure = p_failure;
    return;
  end if;
  insert into tasker_failure_note (failure, namespace, owner, note, runbook, until, changed_by, changed_at)
  values (p_failure, p_namespace, p_owner, p_note, p_runbook, p_until, p_actor, tasker_clock())
  on conflict (failure)
  do update set owner = excluded.owner, note = excluded.note, runbook = excluded.runbook, until = excluded.until,
                changed_by = excluded.changed_by, changed_at = excluded.changed_at;
end
$$;

-- source: functions/tasker_keep_journal.sql 9261459961dd
-- tasker_keep_journal: an engine writes down what attempts have said: lines of log, and how far they are.
--   p_batch     goes up with every batch of a worker; one that was taken already changes nothing, so that it may be sent again when its reply was lost
--   p_task_nos, p_step_nos, p_attempts   the attempts that the batch is about; lines and progress name them by their place here, from 1
--   p_lines     [[place, age in seconds, level, message, fields or null], ...] in their order
--   p_progress  [[place, age in seconds, done, total or null, note or null], ...], one per attempt at most
--   moves  nothing     locks  the worker's row, the tasks of attempts that are over, then progress by (task_no, step_no)
--   fence  lines count for what this worker holds or held; progress of an attempt that is over only while no other has followed     events none
--   returns whether the batch was taken; not so when it was before, or when the worker is gone
create or replace function tasker_keep_journal
  (p_worker int, p_batch bigint, p_task_nos bigint[], p_step_nos int[], p_attempts smallint[], p_lines jsonb, p_progress jsonb)
  returns boolean
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: these few tasks are a small part of the tables
as $$
declare
  v_now timestamptz := tasker_clock();
  v_held boolean[];     -- by place: lines of it count
  v_newest boolean[];   -- by place: its progress counts
  v_over bigint[];
begin
  update tasker_worker w set journal_no = p_batch where w.worker_id = p_worker and w.journal_no < p_batch;
  if not found then
    return false;
  end if;

  select array_agg(coalesce(s.runs, false) order by h.place), array_agg(coalesce(s.runs or s.ended, false) order by h.place),
         array_agg(distinct h.task_no) filter (where s.runs is distinct from true)
    into v_held, v_newest, v_over
    from unnest(p_task_nos, p_step_nos, p_attempts) with ordinality as h (task_no, step_no, attempt, place)
    left join lateral (select k.state = 2 and k.worker_id = p_worker and k.attempts = h.attempt as runs, k.state <> 2 and k.attempts = h.attempt as ended
                         from tasker_step k where k.task_no = h.task_no and k.step_no = h.step_no offset 0) s on true;

  if v_over is not null then
    -- what is dropped in this moment takes no more lines
    perform from tasker_task t where t.task_no = any(v_over) order by t.task_no for key share;
    -- an intersection reads each history once, however many attempts of its task there are
    select array_agg(v_held[h.place] or past.task_no is not null order by h.place) into v_held
      from unnest(p_task_nos, p_step_nos, p_attempts) with ordinality as h (task_no, step_no, attempt, place)
      left join (select x.task_no, x.step_no, x.attempt from unnest(p_task_nos, p_step_nos, p_attempts) as x (task_no, step_no, attempt)
                 intersect
                 select k.task_no, k.step_no, k.attempt from tasker_history k
                  where k.task_no = any(v_over) and k.to_state = 2 and k.worker_id = p_worker) past
        on past.task_no = h.task_no and past.step_no = h.step_no and past.attempt = h.attempt;
  end if;

  insert into tasker_log (task_no, step_no, attempt, at, level, message, fields)
  select p_task_nos[l.of], p_step_nos[l.of], p_attempts[l.of], v_now - l.age * interval '1 second', l.level, l.message, nullif(l.fields, 'null')
    from jsonb_array_elements(p_lines) with ordinality as line (value, place)
   cross join lateral (select (line.value ->> 0)::int as of, (line.value ->> 1)::float8 as age, (line.value ->> 2)::smallint as level,
                              line.value ->> 3 as message, line.value -> 4 as fields) l
   where v_held[l.of]
   order by line.place;

  insert into tasker_progress as p (task_no, step_no, attempt, at, done, total, note)
  select p_task_nos[g.of], p_step_nos[g.of], p_attempts[g.of], v_now - g.age * interval '1 second', g.done, g.total, g.note
    from jsonb_array_elements(p_progress) as told (value)
   cross join lateral (select (told.value ->> 0)::int as of, (told.value ->> 1)::float8 as age, (told.value ->> 2)::float8 as done,
                              (told.value ->> 3)::float8 as total, told.value ->> 4 as note) g
   where v_held[g.of] and v_newest[g.of]
   order by p_task_nos[g.of], p_step_nos[g.of]
  on conflict (task_no, step_no) do update
    set xid = excluded.xid, attempt = excluded.attempt, at = excluded.at, done = excluded.done, total = excluded.total, note = excluded.note;
  return true;
end
$$;

-- source: functions/tasker_keep_objects.sql 08e2b329982a
-- tasker_keep_objects: where the results lie that a worker is about to report for steps it holds. Each is in the store already.
--   moves  none     locks  the steps, until the transaction ends     fence  state, worker and attempt: what is late changes nothing
create or replace function tasker_keep_objects (
  p_worker int, p_task_nos bigint[], p_step_nos int[], p_attempts smallint[], p_keys text[], p_byte_counts bigint[]
)
  returns void
  language sql
  set enable_seqscan = off   -- plans must not depend on statistics: these few steps are a small part of the table
as $$
  with given as (
    select g.task_no, g.step_no, g.attempt, g.key, g.byte_count
      from unnest(p_task_nos, p_step_nos, p_attempts, p_keys, p_byte_counts) as g (task_no, step_no, attempt, key, byte_count)
  ),
  held as (
    select s.task_no, s.step_no, g.key, g.byte_count
      from given g
     cross join lateral (select k.task_no, k.step_no from tasker_step k
                          where k.task_no = g.task_no and k.step_no = g.step_no and k.state = 2 and k.worker_id = p_worker and k.attempts = g.attempt
                            for update offset 0) s
     order by s.task_no, s.step_no
  )
  insert into tasker_object (task_no, step_no, key, byte_count)
  select h.task_no, h.step_no, h.key, h.byte_count from held h
  on conflict (task_no, step_no) do update set key = excluded.key, byte_count = excluded.byte_count
$$;

-- source: functions/tasker_keep_preset.sql e2d5bb6711cb
-- tasker_keep_preset: a context is kept for later launches of a workflow; under the same name it takes the place of the earlier one.
--   raises WF001 unknown workflow
create or replace function tasker_keep_preset (p_namespace text, p_name text, p_preset text, p_context jsonb, p_actor text)
  returns void
  language plpgsql
as $$
begin
  if not exists (select from tasker_definition d where d.namespace = p_namespace and d.name = p_name) then
    raise exception 'there is no workflow %/%', p_namespace, p_name using errcode = 'WF001';
  end if;
  insert into tasker_preset (namespace, name, preset, context, changed_by, changed_at)
  values (p_namespace, p_name, p_preset, p_context, p_actor, tasker_clock())
  on conflict (namespace, name, preset)
  do update set context = excluded.context, changed_by = excluded.changed_by, changed_at = excluded.changed_at;
end
$$;

-- source: functions/tasker_keep_role.sql 9c6fe1a4581a
-- tasker_keep_role: a role of the installation's own bundles these permissions, for whoever has it.
--   audit tasker.account:update
create or replace function tasker_keep_role (p_role text, p_permissions text[], p_actor text, p_address text)
  returns void
  language plpgsql
as $$
begin
  insert into tasker_role (role, permissions) values (p_role, p_permissions)
  on conflict (role) do update set permissions = excluded.permissions;
  perform tasker_audit_note(p_actor, 'tasker.account:update', 'done', null, 'role ' || p_role, null, p_address, jsonb_build_object('permissions', p_permissions));
end
$$;

-- source: functions/tasker_keep_view.sql 541df28a2877
-- tasker_keep_view: a list is kept under a name, or what is kept under that number is changed.
--   p_view_id  null: a new one     p_secret  null: as it was; empty: none     p_link  null: as it was
--   p_kind  of what a new one is a list; it stays that
--   moves, events  none     locks  the view     raises  WF001 unknown view, WF002 when another one there has that name
create or replace function tasker_keep_view (
  p_view_id bigint, p_name text, p_namespace text, p_owner int, p_parameters jsonb,
  p_threshold int, p_rest interval, p_webhook text, p_secret text, p_email text, p_link text, p_kind text default 'tasks'
)
  returns bigint
  language plpgsql
as $$
declare
  v_view_id bigint := p_view_id;
begin
  if v_view_id is null then
    insert into tasker_view (name, namespace, owner_id, parameters, changed_at, threshold, rest, webhook, secret, email, link, kind)
    values (p_name, p_namespace, p_owner, p_parameters, tasker_clock(), p_threshold, p_rest, p_webhook, nullif(p_secret, ''), p_email, p_link, p_kind)
    returning view_id into v_view_id;
    return v_view_id;
  end if;
  -- counted anew at once; what is told of an alert that was raised is told to whom it was raised
  update tasker_view v
     set name = p_name, namespace = p_namespace, owner_id = p_owner, parameters = p_parameters, changed_at = tasker_clock(), threshold = p_threshold,
         rest = p_rest, webhook = p_webhook, secret = case when p_secret is null then v.secret else nullif(p_secret, '') end, email = p_email, link = coalesce(p_link, v.link),
         counted_at = null, over_since = case when p_threshold is not null then v.over_since end
   where v.view_id = v_view_id;
  if not found then
    raise exception 'there is no view %', v_view_id using errcode = 'WF001';
  end if;
  return v_view_id;
exception when unique_violation then
  raise exception 'there is a view of that name already' using errcode = 'WF002';
end
$$;

-- source: functions/tasker_keep_visitor.sql aed41d4a5ac7
-- tasker_keep_visitor: somebody whom another application has signed in has an account, of that name and with exactly those roles.
--   locks  the account, the roles     raises WF002 when the name is another account's or a role is gone     audit tasker.account:create or :update
-- The last administrator may go here: who that is, is the other application's business.
create or replace function tasker_keep_visitor (p_outside_id text, p_name text, p_roles text[], p_namespaces text[], p_actor text, p_address text)
  returns int
  language plpgsql
as $$
declare
  v_account_id int;
  v_is_new     boolean;
begin
  perform tasker_need_role(given.role) from unnest(p_roles) as given (role);
  insert into tasker_account as a (name, outside_id, created_at, created_by) values (p_name, p_outside_id, tasker_clock(), p_actor)
  on conflict (outside_id) do update set name = excluded.name
  returning a.account_id, a.xmax = 0 into v_account_id, v_is_new;
  delete from tasker_grant g where g.account_id = v_account_id;
  insert into tasker_grant (account_id, role, namespace)
  select distinct v_account_id, given.role, given.namespace from unnest(p_roles, p_namespaces) as given (role, namespace);
  perform tasker_audit_note(
    p_actor, case when v_is_new then 'tasker.account:create' else 'tasker.account:update' end, 'done', null, 'account ' || p_name, null, p_address,
    jsonb_build_object('roles', p_roles, 'namespaces', p_namespaces)
  );
  return v_account_id;
exception when unique_violation then
  raise exception 'the name "%" is another account''s', p_name using errcode = 'WF002';
end
$$;

-- source: functions/tasker_known_heads.sql 2aee0187d12b
-- tasker_known_heads: where each lane of the queue began when this session last looked, if that look was a long one and is not long ago; else null.
create or replace function tasker_known_heads ()
  returns tasker_head[]
  language plpgsql stable
as $$
begin
  if coalesce(current_setting('tasker.heads', true), '') = '' or clock_timestamp() > current_setting('tasker.heads_until')::timestamptz then
    return null;
  end if;
  return current_setting('tasker.heads')::tasker_head[];
end
$$;

-- source: functions/tasker_lanes.sql cfaa119f96ba
-- tasker_lanes: the lanes of the queue that an engine with these definitions and labels serves beside the definitions' own.
create or replace function tasker_lanes (p_definitions int[], p_labels text[])
  returns setof int
  language sql
  stable
as $$
  select l.lane from tasker_lane l where l.definition_id = any(p_definitions) and l.labels <@ p_labels order by l.lane
$$;

-- source: functions/tasker_last_event.sql 27f9aa028d03
-- tasker_last_event: the number of the newest thing that is on record about a task.
create or replace function tasker_last_event (p_task_no bigint)
  returns bigint
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
begin
  -- the offset keeps the planner from walking all events backwards until it meets this task's
  return (select max(e.event_id)
            from (select h.event_id from tasker_history h where h.task_no = p_task_no
                  union all select c.event_no from tasker_custom_event c where c.task_no = p_task_no offset 0) e);
end
$$;

-- source: functions/tasker_latest_tasks.sql d0926495be0a
-- tasker_latest_tasks: the newest tasks of a definition, the newest first, at most p_limit of those with a number below p_before.
--   returns took, the seconds from the first step to the end; null while the task is open or when it never started
create or replace function tasker_latest_tasks (p_definition int, p_limit int, p_before bigint default 9223372036854775807)
  returns table (task_no bigint, task_id uuid, state smallint, created_at timestamptz, finished_at timestamptz, took float8)
  language plpgsql stable
  set enable_seqscan = off     -- plans must not depend on statistics: only the index of a definition has the order asked for here. An equality
  set enable_bitmapscan = off  -- would let the planner walk the tasks of all definitions by their number instead
  set enable_sort = off
as $$
#variable_conflict use_column
begin
  return query
  select t.task_no, t.task_id, t.state, t.created_at, t.finished_at, extract(epoch from t.finished_at - t.started_at)::float8
    from tasker_task t
   where t.definition_id >= p_definition and (t.definition_id, t.task_no) < (p_definition, p_before)
   order by t.definition_id desc, t.task_no desc limit p_limit;
end
$$;

-- source: functions/tasker_read_events.sql d40fdcb91084
-- tasker_read_events: what happened, as events, in the order of their ids.
--   p_after, p_until  event ids: the events after the first, up to the second included; see tasker_event_horizon for how far it is safe to go
--   p_types, p_namespace  only these; null: all
--   A move to the state it came from is a note and no event; a task that is led out of failure and a step that becomes ready are none either.
--   A step that was handed back, and a map step whose items are done, starts again in the same attempt: only the first start is an event.
--   context and result are those of that time, also when the step has run again since and the task was given another context.
--   duration is in milliseconds: of the attempt, or of the task since its first step started. data is what a handler published.
-- Each look-up is a lateral one by key: a plan that joins would depend on what was analysed, and when.
create or replace function tasker_read_events (p_after bigint, p_until bigint, p_types text[] default null, p_namespace text default null)
  returns table (event_id bigint, type text, task_id uuid, step_name text, namespace text, task_name text, version text, context jsonb, result jsonb,
                 error jsonb, attempt int, duration bigint, "timestamp" text, correlation_id text, data jsonb)
  language plpgsql stable
  set enable_seqscan = off
as $$
#variable_conflict use_column
begin
  return query
  with moved as materialized (
    select h.event_id * 2 + half.no as event_id, h.task_no, h.step_no, h.at, h.from_state, h.to_state, h.attempt::int, h.reason, h.detail, null::jsonb as data,
           case when h.step_no is null
                then case h.to_state when 2 then case when h.from_state = 0 then 'task.started' end
                                     when 4 then 'task.completed' when 5 then 'task.failed' when 6 then 'task.cancelled' end
                when half.no = 1 then 'step.retried'
                else case h.to_state when 2 then 'step.started' when 3 then 'step.failed' when 4 then 'step.completed' when 5 then 'step.failed'
                                     when 6 then 'step.cancelled' when 7 then 'step.skipped' when 8 then 'step.resolved' end
            end as type
      from tasker_history h cross join lateral generate_series(0, (h.to_state = 3)::int) as half (no)
     where h.event_id between (p_after + 1) / 2 and p_until / 2 and h.from_state is distinct from h.to_state
    union all
    select c.event_no * 2, c.task_no, c.step_no, c.at, null, null, null, null, null, c.data, c.type
      from tasker_custom_event c where c.event_no between (p_after + 1) / 2 and p_until / 2
  ),
  event as materialized (
    select m.* from moved m
     where m.event_id > p_after and m.event_id <= p_until and m.type is not null and (p_types is null or m.type = any(p_types))
  ),
  released as materialized (
    select r.task_no, r.step_no, r.attempt, min(r.event_id) * 2 as event_id
      from (select distinct e.task_no from event e where e.type = 'step.started' and e.from_state = 1) started
     cross join lateral (select h.event_id, h.task_no, h.step_no, h.attempt from tasker_history h
                          where h.task_no = started.task_no and h.from_state = 2 and h.to_state = 1 offset 0) r
     group by 1, 2, 3
  ),
  earlier as materialized (
    -- when attempts began whose steps have been started again since
    select b.task_no, b.step_no, b.attempt, max(b.at) as at
      from (select distinct e.task_no from event e
             where e.from_state = 2 and e.step_no is not null
               and exists (select from tasker_step k where k.task_no = e.task_no and k.step_no = e.step_no and k.attempts <> e.attempt)) again
     cross join lateral (select h.task_no, h.step_no, h.attempt, h.at from tasker_history h
                          where h.task_no = again.task_no and h.step_no is not null and h.to_state = 2 offset 0) b
     group by 1, 2, 3
  ),
  reset as materialized (
    -- what steps had returned that were led back since: a completed one shows it by its state or its attempt, a resolved one does not
    select b.task_no, b.step_no, jsonb_agg(jsonb_build_object('event_id', b.event_id * 2, 'result', b.detail -> 'result') order by b.event_id) as runs
      from (select distinct e.task_no from event e
             where e.type in ('step.completed', 'step.resolved')
               and exists (select from tasker_step k where k.task_no = e.task_no and k.step_no = e.step_no
                                                       and (e.type = 'step.resolved' or k.state <> 4 or k.attempts is distinct from e.attempt))) again
     cross join lateral (select h.task_no, h.step_no, h.event_id, h.detail from tasker_history h
                          where h.task_no = again.task_no and h.step_no is not null and h.from_state in (4, 8) and h.to_state = 0 offset 0) b
     group by 1, 2
  ),
  given as materialized (
    -- the contexts of tasks that have got another one since
    select b.task_no, jsonb_agg(jsonb_build_object('event_id', b.event_id * 2, 'context', b.detail -> 'context_before') order by b.event_id) as contexts
      from (select e.task_no from event e cross join lateral (select k.context_since from tasker_task k where k.task_no = e.task_no offset 0) t
             where t.context_since * 2 > e.event_id group by 1) changed
     cross join lateral (select h.task_no, h.event_id, h.detail from tasker_history h
                          where h.task_no = changed.task_no and h.step_no is null and h.detail ? 'context_before' offset 0) b
     group by 1
  )
  select e.event_id, e.type, t.task_id, s.name, d.namespace, d.name, d.version,
         case when t.context_since * 2 > e.event_id
              then (select c.value -> 'context' from jsonb_array_elements(g.contexts) with ordinality as c (value, no)
                     where (c.value ->> 'event_id')::bigint > e.event_id order by c.no limit 1)
              else t.context end,
         case when e.type in ('step.completed', 'step.resolved') then coalesce(returned.run -> 'result', s.result) end,
         case when found.error ->> 'type' is not null
              then jsonb_build_object('type', found.error -> 'type', 'message', found.error -> 'message', 'code', found.error -> 'code')
              when e.type in ('step.failed', 'step.retried', 'task.failed')
              then jsonb_build_object('type', 'reported', 'message', coalesce(e.reason, 'reported as failed without an error'), 'code', null) end,
         e.attempt,
         case when begun.at is not null then greatest(round(extract(epoch from e.at - begun.at) * 1000), 0)::bigint end,
         to_char(e.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
         t.correlation_id, e.data
    from event e
   cross join lateral (select k.task_id, k.definition_id, k.context, k.context_since, k.correlation_id, k.started_at from tasker_task k where k.task_no = e.task_no offset 0) t
   cross join lateral (select k.namespace, k.name, k.version from tasker_definition k where k.definition_id = t.definition_id offset 0) d
    left join released r on r.task_no = e.task_no and r.step_no = e.step_no and r.attempt = e.attempt
    left join earlier b on b.task_no = e.task_no and b.step_no = e.step_no and b.attempt = e.attempt and e.from_state = 2
    left join reset x on x.task_no = e.task_no and x.step_no = e.step_no
    left join given g on g.task_no = e.task_no
    left join lateral (select c.value as run from jsonb_array_elements(x.runs) with ordinality as c (value, no)
                        where (c.value ->> 'event_id')::bigint > e.event_id order by c.no limit 1) returned on true
    left join lateral (select tasker_step_name(p.name, k.item_no) as name, k.result, k.attempts, k.started_at, p.for_each is not null and k.map_no is null as is_map
                         from tasker_step k join tasker_template p on p.definition_id = k.definition_id and p.step_no = coalesce(k.map_no, k.step_no)
                        where k.task_no = e.task_no and k.step_no = e.step_no offset 0) s on true
   cross join lateral (
     select case when e.step_no is null and e.to_state in (4, 5, 6) then t.started_at
                 when e.from_state = 2 and e.attempt = s.attempts then s.started_at
                 else b.at end as at) begun
   cross join lateral (
     select case when e.type = 'task.failed'
                 then (select (array_agg(h.detail order by h.event_id desc))[1] from tasker_history h
                        where h.task_no = e.task_no and h.step_no is not null and h.to_state = 5 and h.event_id * 2 < e.event_id)
                 else e.detail end as error) found
   where (p_namespace is null or d.namespace = p_namespace)
     and not (e.type = 'step.started' and coalesce(r.event_id < e.event_id, false))
     and not (case when e.type = 'step.started' and s.is_map
                   then exists (select from tasker_history h where h.task_no = e.task_no and h.step_no = e.step_no and h.to_state = 2 and h.attempt = e.attempt
                                                               and h.event_id * 2 < e.event_id)
                   else false end)
   order by e.event_id;
end
$$;

-- source: functions/tasker_lay_aside_event.sql ba8bf62c5417
-- tasker_lay_aside_event: a subscriber failed at its next event for good; tasker_undelivered keeps the event, and delivery goes on after it.
--   fence  the owner's     returns false when another engine owns the subscription by now
-- needs: tasker_read_events
create or replace function tasker_lay_aside_event (p_name text, p_fence bigint, p_event_id bigint, p_error text)
  returns boolean
  language sql
as $$
  with passed as (
    update tasker_subscription s set event_id = p_event_id, attempts = 0, failures = 0, first_refused_at = null, next_try_at = null, last_error = p_error
      from (select k.name, k.attempts from tasker_subscription k where k.name = p_name for update) before
     where s.name = before.name and s.fence = p_fence
    returning s.name, before.attempts + 1 as attempts
  ),
  kept as (
    insert into tasker_undelivered (name, event_id, event, attempts, error, at)
    select p.name, p_event_id, to_jsonb(e), p.attempts, p_error, tasker_clock()
      from passed p cross join tasker_read_events(p_event_id - 1, p_event_id) e
    on conflict (name, event_id) do update set attempts = excluded.attempts, error = excluded.error, at = excluded.at
  )
  select exists (select from passed)
$$;

-- source: functions/tasker_leave_line.sql 45e37d540159
-- tasker_leave_line: one step that stands in a line goes on, if it still stands there. The caller holds the line and has a place for it, or knows that its task has one.
--   A step stands in a line by its row in tasker_waiting, and only who holds its queue row may make that row or remove it; what has no such queue row
--   any more is tidied up here.
--   returns how many places that took; null: somebody is at work on the step, and it is to be looked at again
--   moves  none     locks  the queue row; one that another holds stays where it is
create or replace function tasker_leave_line (p_limit tasker_limit, p_key text, p_rank timestamptz, p_task_no bigint, p_step_no int, p_lane int)
  returns int
  language plpgsql
as $$
declare
  v_is_parked boolean;
begin
  perform from tasker_ready r where r.task_no = p_task_no and r.step_no = p_step_no and r.definition_id < 0 and r.rank = 'infinity' for update skip locked;
  v_is_parked := found;
  if not v_is_parked and exists (select from tasker_ready r where r.task_no = p_task_no and r.step_no = p_step_no and r.definition_id < 0 and r.rank = 'infinity') then
    return null;
  end if;
  delete from tasker_waiting w where w.limit_id = p_limit.limit_id and w.key = p_key and w.rank = p_rank and w.task_no = p_task_no and w.step_no = p_step_no;
  -- a pause parks a step just so, but takes it out of the line: the caller's list is older than that
  if not v_is_parked or not found then
    return 0;
  end if;
  return tasker_take_place(p_limit, p_key, p_task_no, p_step_no, p_rank, p_lane);
end
$$;

-- source: functions/tasker_leave_queue.sql 2c2f295a919e
-- tasker_leave_queue: a step the caller holds no longer waits its turn, nor before a limit.
--   A row that a claim has taken in this moment is left to it: the claim finds that the step has moved and drops it.
--   locks  none that it would wait for
create or replace function tasker_leave_queue (p_task_no bigint, p_step_no int)
  returns void
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
begin
  delete from tasker_ready r
   where r.ctid = any(array(select q.ctid from tasker_ready q where q.task_no = p_task_no and q.step_no = p_step_no for update skip locked));
  if found then   -- see tasker_leave_line
    delete from tasker_waiting w where w.task_no = p_task_no and w.step_no = p_step_no;
  end if;
  delete from tasker_delayed d
   where d.ctid = any(array(select q.ctid from tasker_delayed q where q.task_no = p_task_no and q.step_no = p_step_no for update skip locked));
end
$$;

-- source: functions/tasker_leave_subscriptions.sql 4b06ee9b26a5
-- tasker_leave_subscriptions: an engine delivers no more, and others may go on at once.
create or replace function tasker_leave_subscriptions (p_owner uuid)
  returns void
  language sql
as $$
  update tasker_subscription s set owner = null, lease_until = null where s.owner = p_owner
$$;

-- source: functions/tasker_level_name.sql 8cb664cd3f71
-- tasker_level_name: the word for a log line's level.
create or replace function tasker_level_name (p_level smallint)
  returns text
  language sql immutable strict parallel safe
as $$
  select (array['debug', 'info', 'warning', 'error', 'critical'])[p_level / 10]
$$;

-- source: functions/tasker_limit_key.sql cdc3538b28b4
-- tasker_limit_key: which line a task of this context stands in, the value at the path as text; a context that has none there stands with its like.
create or replace function tasker_limit_key (p_context jsonb, p_path text[])
  returns text
  language sql
  immutable
as $$
  select case when p_path = '{}' then '' when length(x.value) > 200 then md5(x.value) else coalesce(x.value, '') end
    from (select p_context #>> p_path as value) x
$$;

-- source: functions/tasker_limit_reason.sql 9a309d761e0e
-- tasker_limit_reason: what whoever stands in one line before a limit waits for, in words.
create or replace function tasker_limit_reason (p_limit tasker_limit, p_key text)
  returns text
  language sql
  stable
as $$
  with place as materialized (
    select h.task_no, h.ended, coalesce(h.started_at, s.started_at) as started_at, row_number() over (partition by h.ended order by h.task_no) as number
      from tasker_place h
      left join lateral (select k.started_at from tasker_step k where k.task_no = h.task_no and k.step_no = h.step_no and k.attempts = h.attempt offset 0) s on true
     where h.limit_id = p_limit.limit_id and h.key = p_key
  ),
  counted as (
    select count(*) filter (where not p.ended) as taken, min(p.started_at) filter (where p.started_at > tasker_clock() - p_limit.period) as first_at,
           (select string_agg('task ' || left(t.task_id::text, 8), ', ' order by o.number)
              from place o join tasker_task t using (task_no) where not o.ended and o.number <= 3) as holders
      from place p
  )
  select case
      when p_limit.at_once = 0 or p_limit.per_period = 0 then 'an operator: nothing may begin now, the limit is 0'
      when c.taken >= p_limit.at_once then 'a free place: ' || c.taken || ' of ' || p_limit.at_once || ' taken by ' || coalesce(c.holders, 'nobody any more')
        || case when c.taken > 3 then ' and ' || c.taken - 3 || ' more' else '' end
      when p_limit.per_period is not null then 'its turn: ' || p_limit.per_period || ' per '
        || case extract(epoch from p_limit.period)::int when 1 then 'second' when 60 then 'minute' when 3600 then 'hour' when 86400 then 'day' else p_limit.period::text end
        || coalesce('; next at ' || to_char((c.first_at + p_limit.period) at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC', '')
      else 'an engine to let it in: a place is free'
    end || case when p_key = '' then '' else format(', for %s %s', array_to_string(p_limit.key_path, '.'), case when p_limit.key_is_secret then '***' else left(p_key, 40) end) end
    from counted c
$$;

-- source: functions/tasker_limit_seen.sql e92898168f95
-- tasker_limit_seen: another text as soon as somebody has changed the limit, or a new version declares another.
create or replace function tasker_limit_seen (p_limit tasker_limit)
  returns text
  language sql
  stable
as $$
  select left(encode(sha256(convert_to(jsonb_build_array(p_limit.at_once, p_limit.per_period, extract(epoch from p_limit.period), p_limit.key_path,
                                                         extract(epoch from p_limit.changed_at))::text, 'UTF8')), 'hex'), 32)
$$;

-- source: functions/tasker_line_due.sql f11c044219e2
-- tasker_line_due: when the next look at a line is worth while: now, when a place was left free; when the period has gone on; infinity: when a place is given back.
create or replace function tasker_line_due (p_limit tasker_limit, p_key text, p_free int)
  returns timestamptz
  language sql
  stable
as $$
  select case
    when not exists (select from tasker_waiting w where w.limit_id = p_limit.limit_id and w.key = p_key)
      then coalesce(min(h.started_at) filter (where h.ended) + p_limit.period, 'infinity')   -- to be tidied up
    when p_free > 0 then tasker_clock()
    when count(*) filter (where not h.ended) >= p_limit.at_once then 'infinity'
    -- who is let in but has not begun will hold its place for a period from then
    else coalesce(least(min(h.started_at) filter (where h.started_at > tasker_clock() - p_limit.period) + p_limit.period, case when bool_or(h.started_at is null) then tasker_clock() + interval '1 second' end), 'infinity') end
    from tasker_place h where h.limit_id = p_limit.limit_id and h.key = p_key
$$;

-- source: functions/tasker_line_up.sql 03467ba970a0
-- tasker_line_up: gated steps of one definition that have become ready go where they wait: into a lane of the queue, or first into the line before a limit.
--   A step goes by the limit of its workflow, when it begins a task that has no place there yet, then by its own.
--   Whether there is a place already is known only of a line that is held: a look that is under way may just find that it was let go. So a step
--   whose line another holds stands in it, and is let in from there.
--   moves  none     locks  lines of places (those that others hold are skipped), queue rows (likewise), then lines in order
create or replace function tasker_line_up (p_definition_id int, p_most int)
  returns void
  language plpgsql
as $$
declare
  v_now timestamptz := tasker_clock();
  v_held tasker_line[];
begin
  v_held := array(
    select n from tasker_line n
     where (n.limit_id, n.key) in (
       select h.limit_id, h.key
         from (select r.task_no, r.step_no from tasker_ready r
                where r.definition_id = -p_definition_id and r.rank < 'infinity' order by r.rank, r.ready_no limit p_most) r
        cross join lateral (select k.limit_id, k.key, k.step_no from tasker_place k where k.task_no = r.task_no and not k.ended offset 0) h
        where h.step_no in (0, r.step_no))
     order by n.limit_id, n.key for update skip locked);
  with held as materialized (
    select (unnest(v_held)).*
  ),
  arrived as materialized (
    select r.task_no, r.step_no, r.rank, r.ready_no from tasker_ready r
     where r.definition_id = -p_definition_id and r.rank < 'infinity' order by r.rank, r.ready_no limit p_most for update skip locked
  ),
  aimed as materialized (
    select a.*, coalesce((select l.lane from tasker_lane l where l.definition_id = p_definition_id and l.labels = p.labels), p_definition_id) as lane,
           t.context, whole.limit_id as whole_id, whole.key_path as whole_path, own.limit_id as own_id, own.key_path as own_path
      from arrived a
     cross join lateral (select k.map_no, k.attempts from tasker_step k where k.task_no = a.task_no and k.step_no = a.step_no offset 0) s
     cross join lateral (select k.context from tasker_task k where k.task_no = a.task_no offset 0) t
     cross join lateral (select k.name, k.parents, k.labels from tasker_template k where k.definition_id = p_definition_id and k.step_no = coalesce(s.map_no, a.step_no) offset 0) p
     cross join lateral (select k.namespace, k.name from tasker_definition k where k.definition_id = p_definition_id offset 0) d
      left join tasker_limit whole on whole.namespace = d.namespace and whole.name = d.name and whole.step_name = '' and p.parents = '{}' and s.map_no is null
            and not exists (select from tasker_place h join held using (limit_id, key) where h.task_no = a.task_no and h.limit_id = whole.limit_id and not h.ended)
      left join tasker_limit own on own.namespace = d.namespace and own.name = d.name and own.step_name = p.name
            and not exists (select from tasker_place h join held using (limit_id, key) where h.task_no = a.task_no and h.limit_id = own.limit_id
                               and h.step_no = a.step_no and h.attempt = s.attempts + 1 and not h.ended)
  ),
  waiting as (
    insert into tasker_waiting (limit_id, key, rank, task_no, step_no, lane)
    select coalesce(m.whole_id, m.own_id), tasker_limit_key(m.context, case when m.whole_id is null then m.own_path else m.whole_path end), m.rank, m.task_no, m.step_no, m.lane
      from aimed m where m.whole_id is not null or m.own_id is not null
    on conflict do nothing
    returning tasker_waiting.limit_id, tasker_waiting.key
  ),
  line as (
    insert into tasker_line as l (limit_id, key, due_at)
    select distinct w.limit_id, w.key, v_now from waiting w order by 1, 2
    on conflict (limit_id, key) do update set due_at = least(l.due_at, excluded.due_at)
  )
  update tasker_ready r
     set definition_id = case when m.whole_id is null and m.own_id is null then m.lane else r.definition_id end,
         rank = case when m.whole_id is null and m.own_id is null then r.rank else 'infinity' end
    from aimed m
   where r.definition_id = -p_definition_id and r.rank = m.rank and r.ready_no = m.ready_no;
end
$$;

-- source: functions/tasker_look_again.sql 0a059d14e925
-- tasker_look_again: every line before this limit is looked at by the next claims.
--   locks  the lines, in order
create or replace function tasker_look_again (p_limit_id int)
  returns void
  language plpgsql
as $$
begin
  perform from tasker_line n where n.limit_id = p_limit_id order by n.key for update;
  update tasker_line n set due_at = tasker_clock() where n.limit_id = p_limit_id;
  perform pg_notify('tasker_ready', '');
end
$$;

-- source: functions/tasker_look_at_places.sql d5019f888e7d
-- tasker_look_at_places: the places of one line are as what holds them: started when it has started, ended when it has, gone when they no longer count.
--   A step has its place from its admission to the end of that attempt; a pause of its task gives it back. A task has its place until it has ended.
--   locks  the places, which are changed only by who holds their line
create or replace function tasker_look_at_places (p_limit tasker_limit, p_key text)
  returns void
  language plpgsql
as $$
begin
  update tasker_place h
     set started_at = coalesce(h.started_at, now.started_at), ended = not now.holds
    from tasker_place_state(p_limit, p_key) now
   where h.limit_id = p_limit.limit_id and h.key = p_key and h.task_no = now.task_no and h.step_no = now.step_no and h.attempt = now.attempt
     and (h.ended = now.holds or h.started_at is null and now.started_at is not null);
  delete from tasker_place h
   where h.limit_id = p_limit.limit_id and h.key = p_key and h.ended
     and (p_limit.per_period is null or h.started_at is null or h.started_at + p_limit.period <= tasker_clock());
end
$$;

-- source: functions/tasker_make_batch.sql 30a1751e0cbe
-- tasker_make_batch: an action on many tasks, or steps of tasks, is on record, for the engines to do.
--   p_steps  as many names as there are tasks, null where the action is on the whole task
--   p_given  the result, where the action is resolve
--   p_key    of the request, or null: asked for a second time, the first batch is the answer
--   moves, events  none     locks  the key     raises  WF001 when none of the tasks exists
create or replace function tasker_make_batch (p_action text, p_tasks uuid[], p_steps text[], p_about text, p_actor text, p_reason text, p_key text default null, p_given jsonb default null)
  returns bigint
  language plpgsql
as $$
declare
  v_batch_id bigint;
begin
  -- one statement: what retention drops meanwhile is an item all the same, and is refused as one that is gone
  with chosen as materialized (
    -- in the order in which everybody locks tasks
    select row_number() over (order by t.task_no, c.place) as item_no, c.task_id, c.step_name, d.namespace
      from unnest(p_tasks, p_steps) with ordinality as c (task_id, step_name, place) join tasker_task t using (task_id) join tasker_definition d using (definition_id)
  ),
  batch as (
    insert into tasker_batch (action, about, namespaces, actor, reason, item_count, created_at, key, given)
    select p_action, p_about, array_agg(distinct c.namespace), p_actor, p_reason, count(*), tasker_clock(), p_key, p_given
      from chosen c having count(*) > 0
    on conflict (key) do nothing
    returning batch_id
  ),
  item as (
    insert into tasker_batch_item (batch_id, item_no, task_id, step_name)
    select b.batch_id, c.item_no, c.task_id, c.step_name from batch b, chosen c
  )
  select b.batch_id into v_batch_id from batch b;
  if not found then
    select b.batch_id into v_batch_id from tasker_batch b where b.key = p_key;
    if not found then
      raise exception 'none of the tasks exists any more' using errcode = 'WF001';
    end if;
  end if;
  return v_batch_id;
end
$$;

-- source: functions/tasker_make_sign_in_link.sql a7763b5dd8bf
-- tasker_make_sign_in_link: whoever has the secret of that hash may sign in as the account, once and within an hour; earlier links of it are gone.
--   locks  the account     raises WF001     audit tasker.account:update
create or replace function tasker_make_sign_in_link (p_name text, p_hash bytea, p_actor text, p_reason text, p_address text)
  returns void
  language plpgsql
as $$
declare
  v_account_id int := tasker_account_no(p_name);
begin
  delete from tasker_sign_in_link l where l.account_id = v_account_id;
  insert into tasker_sign_in_link (link_hash, account_id, expires_at) values (p_hash, v_account_id, tasker_clock() + interval '1 hour');
  perform tasker_audit_note(p_actor, 'tasker.account:update', 'done', null, 'account ' || p_name, p_reason, p_address, '{"changed": "sign-in link"}');
end
$$;

-- source: functions/tasker_make_token.sql f7cc48025afb
-- tasker_make_token: a program may act as an account, within scopes and a namespace, until the token expires.
--   raises WF001 unknown account     audit tasker.account:update
create or replace function tasker_make_token (
  p_token_id text, p_secret_hash bytea, p_name text, p_label text, p_scopes text[], p_namespace text, p_life interval, p_actor text, p_address text
)
  returns timestamptz
  language plpgsql
as $$
declare
  v_expires_at timestamptz := tasker_clock() + p_life;
begin
  insert into tasker_token (token_id, secret_hash, account_id, label, scopes, namespace, created_at, created_by, expires_at)
  values (p_token_id, p_secret_hash, tasker_account_no(p_name), p_label, p_scopes, p_namespace, tasker_clock(), p_actor, v_expires_at);
  perform tasker_audit_note(p_actor, 'tasker.account:update', 'done', p_namespace, 'token ' || p_token_id, null, p_address,
                            jsonb_build_object('made', p_label, 'account', p_name, 'scopes', p_scopes));
  return v_expires_at;
end
$$;

-- source: functions/tasker_measure_moves.sql 0c91be0315f6
-- tasker_measure_moves: what the moves of the history above p_after up to p_until say to the roll-ups, with how long the state before had lasted.
--   returns step_no      the template's; null: the task itself
--           state, at    what it moved into and when. With undone: when it had moved into a state that one of these moves led it out of
--           took         the wait for an engine (state 2), the attempt (3 to 6, when it ran before), the task since its first step; null: not known
--   A step waits since the move that led it into the queue. Where no move tells: since its last parent ended, its map step made it, its task was made or due.
--   A map step that starts again because its items are done, and items that a retry lays aside, move nothing.
-- Each look-up is a lateral one by key: a plan that joins would depend on what was analysed, and when.
create or replace function tasker_measure_moves (p_after bigint, p_until bigint)
  returns table (definition_id int, step_no int, state smallint, at timestamptz, took interval, undone boolean, timed_out boolean, crashed boolean)
  language plpgsql stable
  set enable_seqscan = off
as $$
#variable_conflict use_column
begin
  return query
  with moved as materialized (
    select h.event_id, h.task_no, h.step_no, h.at, h.from_state, h.to_state, h.attempt, h.detail, lag(h.from_state) over own as prior_from,
           lag(h.to_state) over own as prior_state, lag(coalesce((h.detail ->> 'run_at')::timestamptz, h.at)) over own as prior_at
      from tasker_history h
     where h.event_id > p_after and h.event_id <= p_until and h.from_state is distinct from h.to_state
    window own as (partition by h.task_no, h.step_no order by h.event_id)
  ),
  whole as materialized (
    select t.* from (select distinct m.task_no from moved m) w
     cross join lateral (select k.task_no, k.definition_id, k.created_at, k.run_at, k.started_at, k.item_count from tasker_task k where k.task_no = w.task_no offset 0) t
  ),
  task as materialized (
    select m.event_id, m.task_no, m.at, m.from_state, m.to_state, t.definition_id,
           case when m.to_state = 2 then greatest(t.created_at, t.run_at) else t.started_at end as since
      from moved m join whole t using (task_no)
     where m.step_no is null
  ),
  step as materialized (
    -- the row is looked up where the moves themselves do not say: of an item, and when an attempt began that ends here. The time of a map step is that of its row
    select m.*, t.definition_id, coalesce(s.map_no, m.step_no) as template_no, s.map_no,
           case when begins_here.yes then m.prior_at when s.attempts = m.attempt and s.started_at <= m.at then s.started_at end as started_at,
           coalesce(m.prior_state, noted.state) as led_to, coalesce(m.prior_at, noted.since) as led_at, coalesce(m.prior_from = 2, noted.state is not null) as led_from_running
      from moved m join whole t using (task_no)
     cross join lateral (select m.prior_state is not distinct from 2 and t.item_count = 0 as yes) begins_here
      left join lateral (select k.map_no, k.attempts, k.started_at from tasker_step k
                          where (m.step_no < 0 or m.from_state = 2 and m.to_state between 3 and 6 and not begins_here.yes)
                            and k.task_no = m.task_no and k.step_no = m.step_no offset 0) s on true
      left join lateral (select w.state, w.since from tasker_rollup_wait w
                          where w.task_no = m.task_no and w.step_no = m.step_no and m.to_state = 2 and m.prior_state is null offset 0) noted on true
     where m.step_no is not null
  ),
  made as materialized (
    select m.task_no, m.step_no, max(m.at) as at from moved m where m.from_state = 2 and m.to_state = 0 group by 1, 2
  ),
  unled as materialized (
    -- starts of steps that no move had led into the queue
    select m.event_id, m.task_no, m.map_no, p.parents from step m
     cross join lateral (select d.parents from tasker_template d where d.definition_id = m.definition_id and d.step_no = m.template_no offset 0) p
     where m.to_state = 2 and m.from_state = 1 and coalesce(m.led_to, 0) = 0
  ),
  waited as materialized (
    select u.event_id, coalesce(now_made.at, noted.since) as since
      from unled u left join made now_made on now_made.task_no = u.task_no and now_made.step_no = u.map_no
      left join lateral (select w.since from tasker_rollup_wait w where w.task_no = u.task_no and w.step_no = u.map_no and w.state = 0 offset 0) noted on true
     where u.map_no is not null
    union all
    select u.event_id, greatest(t.created_at, t.run_at, parents.ended_at)
      from unled u
     cross join lateral (select k.created_at, k.run_at from tasker_task k where k.task_no = u.task_no offset 0) t
     cross join lateral (
       select max(coalesce(k.finished_at, 'infinity')) as ended_at
         from unnest(u.parents) as parent (no)
         left join lateral (select s.finished_at from tasker_step s where s.task_no = u.task_no and s.step_no = parent.no offset 0) k on true) parents
     where u.map_no is null
  ),
  earlier as materialized (
    -- when attempts began whose steps have been started again since
    select m.event_id, max(b.at) as since
      from step m
     cross join lateral (select h.at, h.event_id, h.step_no, h.attempt, h.to_state from tasker_history h where h.task_no = m.task_no offset 0) b
     where m.from_state = 2 and m.to_state between 3 and 6 and m.started_at is null
       and b.step_no = m.step_no and b.to_state = 2 and b.attempt = m.attempt and b.event_id < m.event_id
     group by 1
  )
  select t.definition_id, null::int, t.to_state, t.at, case when t.since <= t.at then t.at - t.since end, false, false, false
    from task t where t.to_state in (4, 5, 6, 8) or t.to_state = 2 and t.from_state = 0
  union all
  select m.definition_id, m.template_no, m.to_state, m.at, case when began.since <= m.at then m.at - began.since end, false,
         coalesce(m.detail ->> 'type' = 'timeout', false), coalesce(m.detail ->> 'type' = 'worker_crashed', false)
    from step m
    left join waited w using (event_id)
    left join earlier e using (event_id)
   cross join lateral (
     select case when m.to_state = 2 then case m.from_state when 0 then m.at when 1 then coalesce(w.since, m.led_at) end
                 when m.from_state = 2 and m.to_state between 3 and 6 then coalesce(m.started_at, e.since) end as since) began
   where m.to_state >= 2 and not (m.to_state = 7 and coalesce(m.detail ? 'reset', false))
     and not (m.to_state = 2 and coalesce(m.led_to = 0 and m.led_from_running, false))
  union all
  select u.definition_id, u.template_no, u.from_state, ended.at, null, true, false, false
    from (select t.event_id, t.task_no, null::int as step_no, null::int as template_no, t.definition_id, t.from_state from task t where t.from_state in (4, 5, 6, 8)
          union all
          select m.event_id, m.task_no, m.step_no, m.template_no, m.definition_id, m.from_state from step m where m.from_state in (4, 5, 6, 7, 8)) u
   cross join lateral (
     select (array_agg(h.at order by h.event_id desc))[1] as at from tasker_history h
      where h.task_no = u.task_no
        and case when h.step_no is not distinct from u.step_no and h.to_state = u.from_state and h.from_state <> h.to_state and h.event_id < u.event_id then true end) ended
   where ended.at is not null;
end
$$;

-- source: functions/tasker_move_exists.sql 68eebd4da685
-- tasker_move_exists: the moves a step can make at all; engine/states.py says the same and a test holds them equal.
--   One more there is that nobody can ask for: tasker_expand_step sends a map step back to pending, to wait for its items.
create or replace function tasker_move_exists (p_from smallint, p_to smallint)
  returns boolean
  language sql immutable strict parallel safe
as $$
  select p_to = any(case p_from
    when 0 then array[1, 2, 6, 7, 8]
    when 1 then array[2, 6, 7, 8]
    when 2 then array[1, 3, 4, 5, 6]
    when 3 then array[1, 2, 6, 7, 8]
    when 5 then array[1, 7, 8]
    else array[]::int[]
  end)
$$;

-- source: functions/tasker_need_admin.sql 22599b74bbd4
-- tasker_need_admin: somebody can still let others in; called after what takes an account or a role away.
--   locks  the question, until this transaction ends, so that no two take the last two at once     raises WF002 when no account is left that is open and admin everywhere
create or replace function tasker_need_admin ()
  returns void
  language plpgsql
as $$
begin
  perform pg_advisory_xact_lock(hashtextextended('tasker last administrator', 0));
  if not exists (
    select from tasker_account a join tasker_grant g using (account_id) where not a.disabled and g.role = 'admin' and g.namespace is null
  ) then
    raise exception 'this is the last administrator; make another one first' using errcode = 'WF002';
  end if;
end
$$;

-- source: functions/tasker_need_role.sql f1a85aba382d
-- tasker_need_role: that role is built in, or it is there and stays until this transaction ends; called before somebody is given it.
--   locks  the role     raises WF002 when it is gone
create or replace function tasker_need_role (p_role text)
  returns void
  language plpgsql
as $$
begin
  perform from tasker_role r where r.role = p_role for key share;
  if not found and p_role not in ('viewer', 'operator', 'developer', 'admin') then
    raise exception 'there is no role % any more', p_role using errcode = 'WF002';
  end if;
end
$$;

-- source: functions/tasker_next_event.sql 4922161f5c95
-- tasker_next_event: the place of a reader right before the next event on record: what retention has dropped is not walked through number by number.
--   p_after  an event id, where the reader is     p_until  an event id up to which nothing is yet to appear, see tasker_event_horizon
--   returns an event id not before p_after; between the two there is no event. It is p_until at most where that is not before p_after
create or replace function tasker_next_event (p_after bigint, p_until bigint)
  returns bigint
  language sql stable
  set enable_seqscan = off   -- plans must not depend on statistics: the first row of an index is wanted
as $$
  select greatest(p_after, least(p_until, 2 * least(
    (select min(h.event_id) from tasker_history h where h.event_id >= (p_after + 1) / 2),
    (select min(c.event_no) from tasker_custom_event c where c.event_no >= (p_after + 1) / 2)) - 1))
$$;

-- source: functions/tasker_note_archive.sql 8186d065345a
-- tasker_note_archive: how the last batch of a namespace went: so many tasks were written, or none, and why.
-- needs: tasker_clock
--   p_error  null: it was written, and what was wrong before is over
create or replace function tasker_note_archive (p_namespace text, p_task_count int, p_error text)
  returns void
  language sql
as $$
  insert into tasker_archive_state (namespace, task_count, written_at, error, failed_at)
  values (p_namespace, p_task_count, case when p_error is null then tasker_clock() end, p_error, case when p_error is not null then tasker_clock() end)
  on conflict (namespace) do update
     set task_count = tasker_archive_state.task_count + excluded.task_count,
         written_at = coalesce(excluded.written_at, tasker_archive_state.written_at),
         error = excluded.error,
         failed_at = excluded.failed_at
$$;

-- source: functions/tasker_note_count.sql d6f424b264e1
-- tasker_note_count: how many tasks, or groups of failures, a view holds now is on record, and told where that crosses its threshold: once upwards, once back.
--   p_count     null: unknown, and nothing is told
--   p_is_least  older ones were not looked through: there may be more, which is told with it
--   An alert within the rest after the last one waits, and is told if it still holds by then.
--   moves, events  none     locks  the view
create or replace function tasker_note_count (p_view_id bigint, p_count int, p_is_least boolean default false)
  returns text
  language plpgsql
as $$
declare
  v_view tasker_view;
  v_news text;
begin
  select v.* into v_view from tasker_view v where v.view_id = p_view_id for update;
  if not found then
    return null;
  end if;
  v_news := case
    when v_view.threshold is null or p_count is null then null
    when p_count <= v_view.threshold and v_view.over_since is not null then 'view.resolved'
    when p_count > v_view.threshold and v_view.over_since is null and coalesce(v_view.alerted_at, '-infinity') <= tasker_clock() - v_view.rest then 'view.alert'
  end;
  update tasker_view v
     set count = p_count, is_least = p_is_least,
         over_since = case v_news when 'view.alert' then tasker_clock() when 'view.resolved' then null else v.over_since end,
         alerted_at = case v_news when 'view.alert' then tasker_clock() else v.alerted_at end
   where v.view_id = p_view_id;
  insert into tasker_notice (view_id, channel, target, secret, facts, created_at, due_at)
  select p_view_id, told.channel, told.target, case told.channel when 'webhook' then v_view.secret end,
         jsonb_build_object('type', v_news, 'view_id', p_view_id, 'view', v_view.name, 'kind', v_view.kind, 'namespace', v_view.namespace, 'filter', v_view.parameters, 'count', p_count, 'is_least', p_is_least,
                            'threshold', v_view.threshold, 'at', to_char(tasker_clock() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'link', v_view.link),
         tasker_clock(), tasker_clock()
    from (values ('webhook', v_view.webhook), ('email', v_view.email)) as told (channel, target)
   where v_news is not null and told.target is not null;
  return v_news;
end
$$;

-- source: functions/tasker_note_schedule_run.sql 22758b87d9b7
-- tasker_note_schedule_run: an operator had the schedule make this task; its own times stay as they are.
create or replace function tasker_note_schedule_run (p_schedule_id int, p_task_id uuid)
  returns void
  language sql
as $$
  update tasker_schedule s
     set last_run_at = tasker_clock(), recent_task_ids = (p_task_id || s.recent_task_ids)[1:5]
   where s.schedule_id = p_schedule_id
$$;

-- source: functions/tasker_note_sign_in.sql 34135ad26f5c
-- tasker_note_sign_in: somebody signed in for whom another method vouched; the place is known from now on.
--   raises  WF001     audit sign_in
create or replace function tasker_note_sign_in (p_account_id int, p_address text, p_method text)
  returns void
  language plpgsql
as $$
declare
  v_name text := (select a.name from tasker_account a where a.account_id = p_account_id);
begin
  if v_name is null then
    raise exception 'there is no such account' using errcode = 'WF001';
  end if;
  insert into tasker_sign_in (name, address, at, outcome) values (lower(v_name), p_address, tasker_clock(), 'done');
  perform tasker_audit_note(v_name, 'sign_in', 'done', null, 'account ' || v_name, null, p_address, jsonb_build_object('method', p_method));
end
$$;

-- source: functions/tasker_note_task.sql 9bb278bb32f3
-- tasker_note_task: a person's remark stands in the history of a task, open or ended.
--   moves  nothing     locks  nothing: the row tells the state it was written in, and a note is no event
--   raises WF001 unknown task     events none
create or replace function tasker_note_task (p_task_id uuid, p_actor text, p_note text)
  returns void
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_no bigint := tasker_task_no(p_task_id);
begin
  insert into tasker_history (task_no, at, from_state, to_state, actor, reason, detail)
  select t.task_no, tasker_clock(), t.state, t.state, p_actor, p_note, '{"note": true}'
    from tasker_task t where t.task_no = v_task_no;
  perform pg_notify('tasker_news', '');
end
$$;

-- source: functions/tasker_old_tasks.sql f488ff25c244
-- tasker_old_tasks: the tasks of a definition that were made longer ago than its namespace keeps them, oldest first, and what still keeps each.
--   p_after  go on behind this task     p_hold  how much longer a task waits for subscribers that have not read all its events
--   returns up to p_limit tasks; fewer: there are no more. kept_for is null when the task may be dropped, else
--           open    it has not ended, or not for long enough
--           unread  a subscriber has not come to its last event, and p_hold is not over; or the roll-ups have not counted its last move
create or replace function tasker_old_tasks (p_definition int, p_after bigint, p_limit int, p_hold interval)
  returns table (task_no bigint, kept_for text)
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: these few tasks are a small part of the tables
  set enable_sort = off      -- nor may it read a whole index for want of an order: tasker_task_of_definition has it
as $$
#variable_conflict use_column
declare
  v_begin timestamptz := tasker_retention_begin(p_definition);
  v_read bigint := (select min(s.event_id) from tasker_subscription s);
  v_counted_to bigint := coalesce((select p.counted_to from tasker_rollup_place p), 0);
begin
  return query
  select t.task_no,
         case when t.finished_at is null or t.finished_at >= v_begin then 'open'
              when v_read < 2 * tasker_last_event(t.task_no) and t.finished_at >= v_begin - p_hold then 'unread'
              when v_counted_to < (select max(h.event_id) from (select k.event_id from tasker_history k where k.task_no = t.task_no offset 0) h) then 'unread' end
    from (select k.task_no, k.created_at, k.finished_at from tasker_task k
           where k.definition_id = p_definition and (k.definition_id, k.task_no) > (p_definition, p_after)
           order by k.definition_id, k.task_no limit p_limit) t   -- the limit comes first: recent tasks are not looked through
   where t.created_at < v_begin;
end
$$;

-- source: functions/tasker_owner_grants.sql 217486e79e17
-- tasker_owner_grants: what an account was granted, for what is done in its name while it is not signed in; nothing when it is disabled.
create or replace function tasker_owner_grants (p_account_id int)
  returns jsonb
  language plpgsql stable
as $$
begin
  return (select tasker_grants(a.account_id) from tasker_account a where a.account_id = p_account_id and not a.disabled);
end
$$;

-- source: functions/tasker_pass_over.sql 6a53378d8e44
-- tasker_pass_over: the children that a decision did not choose are skipped at once, whatever else they wait for.
--   p_step    the decision, as it was before it ended     p_chosen  a JSON list of the names of those of its children that go on; null: all go on
--   moves  pending -> skipped     locks  none; the caller holds the whole task     events step.skipped
--   raises 22023 when a name is no child of the step
--   returns the numbers of the skipped; the caller's next call is tasker_unlock_children for these and the decision
create or replace function tasker_pass_over (p_step tasker_step, p_chosen jsonb)
  returns int[]
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_now timestamptz := tasker_clock();
  v_decision tasker_template;
  v_names text[];
  v_skipped int[];
begin
  select p.* into v_decision from tasker_template p where p.definition_id = p_step.definition_id and p.step_no = coalesce(p_step.map_no, p_step.step_no);
  if not v_decision.decision or p_chosen is null then
    return '{}';
  end if;
  select array_agg(p.name) into v_names from tasker_template p where p.definition_id = p_step.definition_id and p.step_no = any(v_decision.children);
  if jsonb_typeof(p_chosen) <> 'array' or exists (select from jsonb_array_elements(p_chosen) as chosen (value) 
                                                        where jsonb_typeof(chosen.value) <> 'string' or chosen.value #>> '{}' <> all(v_names)) then
    raise exception 'what decision "%" chose is no list of its children: %', v_decision.name, p_chosen using errcode = '22023';
  end if;
  with skipped as (
    update tasker_step s
       set state = 7, passed_over = true, finished_at = v_now
      from tasker_template p
     where s.task_no = p_step.task_no and s.step_no = any(v_decision.children) and case when s.state = 0 then true end
       and p.definition_id = s.definition_id and p.step_no = s.step_no and not p_chosen ? p.name
    returning s.step_no
  ),
  history as (
    insert into tasker_history (task_no, step_no, at, from_state, to_state, reason)
    select p_step.task_no, s.step_no, v_now, 0, 7, 'not chosen by ' || v_decision.name from skipped s order by s.step_no
  )
  select array_agg(s.step_no order by s.step_no) into v_skipped from skipped s;
  return coalesce(v_skipped, '{}');
end
$$;

-- source: functions/tasker_pause_schedule.sql f370b498b8ce
-- tasker_pause_schedule: it makes no task until it is resumed; tasks it has made go on.
--   raises WF001 unknown schedule, WF002 when it is paused already
create or replace function tasker_pause_schedule (p_schedule_id int, p_actor text, p_reason text)
  returns void
  language plpgsql
as $$
declare
  v_paused boolean;
begin
  select s.paused into v_paused from tasker_schedule s where s.schedule_id = p_schedule_id for update;
  if not found then
    raise exception 'there is no schedule %', p_schedule_id using errcode = 'WF001';
  elsif v_paused then
    raise exception 'the schedule is paused already' using errcode = 'WF002';
  end if;
  update tasker_schedule s
     set paused = true, changed_by = p_actor, changed_at = tasker_clock(), change_reason = p_reason
   where s.schedule_id = p_schedule_id;
end
$$;

-- source: functions/tasker_pause_task.sql bbc3c59127b6
-- tasker_pause_task: what runs may end, nothing else of the task starts until it is resumed.
--   moves  none; steps that are or become ready are parked, and stand in no line before a limit any more     locks  as tasker_hold_tasks, then the task
--   raises WF001 unknown task, WF002 when it has ended, is paused already or is asked to stop     events none; the history says who and why
-- Whoever unlocks a step meanwhile waits for its row and then sees the mark, whatever snapshot it began with.
create or replace function tasker_pause_task (p_task_id uuid, p_actor text, p_reason text)
  returns text
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_task tasker_task;
begin
  perform tasker_hold_tasks(array[v_task_no]);
  select t.* into v_task from tasker_task t where t.task_no = v_task_no for update;
  if not found then
    raise exception 'the task was dropped in this moment' using errcode = 'WF001';
  end if;
  if v_task.finished_at is not null or v_task.paused then
    raise exception 'the task is % already', case when v_task.paused then 'paused' else tasker_state_name(v_task.state) end using errcode = 'WF002';
  end if;
  perform tasker_refuse_cancelled(v_task_no);
  update tasker_step s set paused = true where s.task_no = v_task_no and s.state in (0, 1, 2, 3, 5);
  update tasker_ready r set rank = 'infinity', definition_id = -abs(r.definition_id) where r.task_no = v_task_no;
  delete from tasker_waiting w where w.task_no = v_task_no;   -- by who holds the queue rows, see tasker_leave_line
  update tasker_task t set paused = true where t.task_no = v_task_no;
  insert into tasker_history (task_no, at, from_state, to_state, actor, reason, detail)
  values (v_task_no, tasker_clock(), v_task.state, v_task.state, p_actor, p_reason, '{"paused": true}');
  perform pg_notify('tasker_news', '');
  return tasker_state_name(v_task.state);
end
$$;

-- source: functions/tasker_pick_in_turn.sql 6db9281c748e
-- tasker_pick_in_turn: which steps are next when several lanes of the queue have some: the namespaces take turns, and within one the best rank is first.
--   So a namespace with a million steps takes no more of a claim than another needs; what one leaves is for the others. Who begins is drawn,
--   as a claim of one step would else always go to the same.
--   returns the places of at most p_want rows of tasker_ready, locked     locks  those rows (rows that another claim takes are skipped)
--   p_heads  where each lane begins     p_served  the lanes that the caller's engine serves
create or replace function tasker_pick_in_turn (p_heads tasker_head[], p_served int[], p_want int)
  returns tid[]
  language plpgsql
as $$
declare
  v_heads tasker_head[] := array(select h from unnest(p_heads) h where h.lane = any(p_served));
  v_lane record;
  v_more int := 0;
  v_part tid[];
  v_picked tid[] := '{}';
begin
  if cardinality(v_heads) < 2 then
    return array(select q.ctid from tasker_ready q where q.definition_id = v_heads[1].lane and (q.rank, q.ready_no) >= (v_heads[1].rank, v_heads[1].ready_no)
                  order by q.rank, q.ready_no limit p_want for update skip locked);
  end if;
  for v_lane in
    with lane as materialized (
      select l.lane, l.rank, l.ready_no, d.namespace from unnest(v_heads) as l cross join lateral
        (select k.namespace from tasker_definition k
         where k.definition_id = coalesce((select n.definition_id from tasker_lane n where n.lane = l.lane), l.lane) offset 0) d
    ),
    luck as materialized (
      select n.namespace, random() as drawn from (select distinct lane.namespace from lane) n
    ),
    head as (
      select lane.lane, lane.rank, lane.ready_no, luck.drawn, row_number() over (partition by lane.namespace order by h.rank, h.ready_no) as turn
        from lane join luck using (namespace)
       cross join lateral (select q.rank, q.ready_no from tasker_ready q where q.definition_id = lane.lane
                           and (q.rank, q.ready_no) >= (lane.rank, lane.ready_no) order by q.rank, q.ready_no limit p_want) h
    ),
    counted as (
      select head.lane, count(*) as available from head group by 1
    ),
    due as (
      select n.lane, n.rank, n.ready_no, count(*)::int as share
        from (select head.lane, head.rank, head.ready_no from head order by head.turn, head.drawn limit p_want) n group by 1, 2, 3
    )
    select due.lane, due.rank, due.ready_no, due.share from due join counted using (lane) order by counted.available, due.lane
  loop
    -- what another claim is just taking from a short lane is made up for from a longer one
    v_part := array(select q.ctid from tasker_ready q where q.definition_id = v_lane.lane and (q.rank, q.ready_no) >= (v_lane.rank, v_lane.ready_no)
                     order by q.rank, q.ready_no limit v_lane.share + v_more for update skip locked);
    v_more := v_lane.share + v_more - cardinality(v_part);
    v_picked := v_picked || v_part;
  end loop;
  return v_picked;
end
$$;

-- source: functions/tasker_pick_steps.sql 299b33239e2a
-- tasker_pick_steps: which ready steps a claim takes when steps stand in several lanes, are parked, or stand behind many dead rows:
-- those that may go on now are let in first.
--   returns the places of at most p_want rows of tasker_ready, locked     locks  as tasker_admit_steps; then those rows (rows that another claim takes are skipped)
create or replace function tasker_pick_steps (p_served int[], p_want int)
  returns tid[]
  language plpgsql
as $$
declare
  v_known tasker_head[];
  v_picked tid[];
begin
  if exists (select from tasker_ready r where r.definition_id < 0) then
    perform tasker_admit_steps(p_served, p_want);
  end if;
  v_known := tasker_known_heads();
  if v_known is not null then
    v_picked := tasker_pick_in_turn(v_known, p_served, p_want);
    if cardinality(v_picked) = p_want then
      return v_picked;
    end if;
  end if;
  return tasker_pick_in_turn(tasker_find_heads(), p_served, p_want);
end
$$;

-- source: functions/tasker_place_state.sql 70ab8ae4a2c1
-- tasker_place_state: of each place in one line that was not seen to end, whether it is still held and since when its holder runs.
create or replace function tasker_place_state (p_limit tasker_limit, p_key text)
  returns table (task_no bigint, step_no int, attempt smallint, holds boolean, started_at timestamptz)
  language sql
  stable
as $$
  select h.task_no, h.step_no, h.attempt,
         case when p_limit.step_name = '' then t.task_no is not null and t.finished_at is null
              else coalesce(s.state = 2 and s.attempts = h.attempt or s.state = 1 and s.attempts = h.attempt - 1 and not s.paused, false) end,
         case when p_limit.step_name = '' then t.started_at when s.attempts = h.attempt then s.started_at end
    from tasker_place h
    left join lateral (select k.task_no, k.finished_at, k.started_at from tasker_task k where k.task_no = h.task_no and p_limit.step_name = '' offset 0) t on true
    left join lateral (select k.state, k.attempts, k.started_at, k.paused from tasker_step k
                        where k.task_no = h.task_no and k.step_no = h.step_no and p_limit.step_name <> '' offset 0) s on true
   where h.limit_id = p_limit.limit_id and h.key = p_key and not h.ended
$$;

-- source: functions/tasker_post_deliveries.sql cb42929903e5
-- tasker_post_deliveries: running steps of an engine wait for whoever gets the token.
--   returns a token for each that the engine still holds in that attempt
create or replace function tasker_post_deliveries (p_sender uuid, p_numbers bigint[], p_task_nos bigint[], p_step_nos int[], p_attempts smallint[])
  returns table (number bigint, token uuid)
  language sql
as $$
  insert into tasker_delivery as d (sender, number, worker_id, task_no, step_no, attempt, posted_at)
  select p_sender, given.number, s.worker_id, given.task_no, given.step_no, given.attempt, tasker_clock()
    from unnest(p_numbers, p_task_nos, p_step_nos, p_attempts) as given (number, task_no, step_no, attempt)
   cross join lateral (select k.worker_id from tasker_step k
                        where k.task_no = given.task_no and k.step_no = given.step_no and k.state = 2 and k.attempts = given.attempt offset 0) s
  returning d.number, d.token
$$;

-- source: functions/tasker_postpone_event.sql 10a2a7f7b9b0
-- tasker_postpone_event: a subscriber failed at its next event, which is tried again after p_wait; the subscriber's later events wait with it.
--   p_is_failure  whether the reason was not said to pass     fence  the owner's
--   returns false when another engine owns the subscription by now
create or replace function tasker_postpone_event (p_name text, p_fence bigint, p_error text, p_wait interval, p_is_failure boolean)
  returns boolean
  language sql
as $$
  with postponed as (
    update tasker_subscription s
       set attempts = s.attempts + 1, failures = s.failures + p_is_failure::int, first_refused_at = coalesce(s.first_refused_at, tasker_clock()),
           next_try_at = tasker_clock() + p_wait, last_error = p_error
     where s.name = p_name and s.fence = p_fence
    returning s.name
  )
  select exists (select from postponed)
$$;

-- source: functions/tasker_preview.sql 19b1c1408eea
-- tasker_preview: what an operator's action would do now. The action itself is carried out, looked at and undone, so it cannot say anything else.
--   p_action, p_step_name, p_given  as for tasker_act
--   moves   nothing     locks  what the action locks, until it returns     events none
--   raises  what the action raises; 40001 when a step came to move in this moment, as tasker_hold_steps, and the caller starts again
--   returns a row per step by number, as tasker_effects says, and last one for the task (step_no null) with the token that tasker_act takes as p_seen
create or replace function tasker_preview (p_task_id uuid, p_action text, p_step_name text default null, p_given jsonb default null)
  returns table (step_no int, step_name text, from_state text, to_state text, effect text, seen text)
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
#variable_conflict use_column
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_definition_id int := (select t.definition_id from tasker_task t where t.task_no = v_task_no);
  v_words text[] := array(select tasker_state_name(code::smallint) from generate_series(0, 8) as code order by code);   -- not asked for once a row
  v_before tasker_standing[];
  v_after tasker_standing[];
begin
  begin
    v_before := tasker_stand(v_task_no);
    perform tasker_act(p_task_id, p_action, p_step_name, p_given, null, null);
    v_after := tasker_stand(v_task_no);
    if cardinality(v_before) <> cardinality(v_after) then
      raise exception 'a map step made its items while the task was being looked at' using errcode = '40001';
    end if;
    raise exception using errcode = 'WF999';   -- undoes all of this, its notifications too, and lets go of the locks; the variables stay
  exception when sqlstate 'WF999' then   -- not WF000, which would stand for all that begin with WF
    null;
  end;
  return query
  select e.step_no, tasker_step_name(p.name, e.item_no), v_words[e.from_state + 1], v_words[e.to_state + 1], e.effect,
         case when e.step_no is null then tasker_seen(v_before, v_after) end
    from tasker_effects(v_before, v_after) e
    left join lateral (select k.name from tasker_template k where k.definition_id = v_definition_id and k.step_no = coalesce(e.map_no, e.step_no) offset 0) p on true;
end
$$;

-- source: functions/tasker_prune_rollups.sql 42f828190e0a
-- tasker_prune_rollups: minutes that began before p_minutes_from and hours before p_hours_from are gone; days stay.
--   Of a group of failures, its hours go with the minutes of the others, and the rest when nothing of it failed since p_hours_from.
--   locks  the rows that go     events none     returns how many there were
create or replace function tasker_prune_rollups (p_minutes_from timestamptz, p_hours_from timestamptz)
  returns int
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: what is old is a small part of the tables
as $$
declare
  v_tasks int;
  v_steps int;
  v_failures int;
begin
  delete from tasker_task_rollup r
   using tasker_definition d, generate_series(2, 8) as state (no), unnest(array[0, 1], array[p_minutes_from, p_hours_from]) as kept (grain, begins_at)
   where r.definition_id = d.definition_id and r.grain = kept.grain and r.state = state.no and r.begins_at < kept.begins_at;
  get diagnostics v_tasks = row_count;
  delete from tasker_step_rollup r
   using tasker_definition d, generate_series(2, 8) as state (no), generate_series(-1, d.step_count - 1) as step (no),
         unnest(array[0, 1], array[p_minutes_from, p_hours_from]) as kept (grain, begins_at)
   where r.definition_id = d.definition_id and r.grain = kept.grain and r.state = state.no and r.step_no = step.no and r.begins_at < kept.begins_at;
  get diagnostics v_steps = row_count;
  delete from tasker_failure_rollup r
   where r.last_at < p_hours_from or r.last_at < p_minutes_from and r.begins_at > '-infinity';
  get diagnostics v_failures = row_count;
  return v_tasks + v_steps + v_failures;
end
$$;

-- source: functions/tasker_publish_event.sql 158c01c65974
-- tasker_publish_event: a handler tells of something in its task; subscribers receive it among the task's own events.
--   returns the event's id     raises WF001 unknown task or step
create or replace function tasker_publish_event (p_type text, p_task_id uuid, p_step_name text, p_data jsonb)
  returns bigint
  language plpgsql
as $$
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_step_no int := case when p_step_name is not null then tasker_step_no(v_task_no, p_step_name) end;
  v_event_no bigint;
begin
  perform pg_current_xact_id();   -- before the number is taken: see tasker_event_horizon
  v_event_no := nextval(pg_get_serial_sequence('tasker_history', 'event_id')::regclass);
  insert into tasker_custom_event (event_no, at, type, task_no, step_no, data)
  values (v_event_no, tasker_clock(), p_type, v_task_no, v_step_no, p_data);
  perform pg_notify('tasker_news', '');
  return v_event_no * 2;
end
$$;

-- source: functions/tasker_read_endings.sql d22b3896b8c3
-- tasker_read_endings: which attempts and tasks have ended, in the order of their ends, with what a trace tells of each by itself.
--   p_after, p_until  event ids: those that ended after the first, up to the second included; see tasker_event_horizon for how far it is safe to go
--   p_share  of the tasks that came with no word on it, this share, always the same ones; those with a traceparent are all there
--   step_no and began_at are null for a task; template_no and item_no say which step it is; retry_at is when an attempt that failed is to be made again
-- What all spans of a task or a workflow share is not here: the reader keeps that, and to look it up for each costs more than all the rest.
-- The look-up is a lateral one by key: a plan that joins would depend on what was analysed, and when.
create or replace function tasker_read_endings (p_after bigint, p_until bigint, p_share float8 default 1)
  returns table (task_no bigint, step_no int, template_no int, item_no int, state smallint, attempt int, worker_id int, began_at timestamptz, ended_at timestamptz,
                 retry_at timestamptz, error_type text, error_message text)
  language plpgsql stable
  set enable_seqscan = off
as $$
#variable_conflict use_column
begin
  return query
  select h.task_no, h.step_no, coalesce(s.map_no, h.step_no), s.item_no, h.to_state, h.attempt::int, h.worker_id,
         case when h.step_no is not null then
           -- where the step has been started again since, the history alone knows
           coalesce(case when s.attempts = h.attempt and s.started_at <= h.at then s.started_at end,
                    (select max(b.at) from tasker_history b
                      where b.task_no = h.task_no and b.step_no = h.step_no and b.to_state = 2 and b.attempt = h.attempt and b.event_id < h.event_id),
                    h.at) end,
         h.at, (h.detail ->> 'run_at')::timestamptz, h.detail ->> 'type', h.detail ->> 'message'
    from tasker_history h
    left join lateral (select k.map_no, k.item_no, k.attempts, k.started_at from tasker_step k where k.task_no = h.task_no and k.step_no = h.step_no offset 0) s on true
   where h.event_id between p_after / 2 + 1 and p_until / 2
     and case when h.step_no is null then h.from_state <> h.to_state and h.to_state in (4, 5, 6, 8) else h.from_state = 2 and h.to_state in (3, 4, 5, 6) end
     and case when p_share < 1 then (select k.traceparent is not null or ('x' || left(k.task_id::text, 8))::bit(32)::bigint < p_share * 4294967296
                                       from tasker_task k where k.task_no = h.task_no) else true end
   order by h.event_id;
end
$$;

-- source: functions/tasker_read_items.sql b6de542c28b1
-- tasker_read_items: what items of map steps work on, for an engine that has just claimed them.
create or replace function tasker_read_items (p_task_nos bigint[], p_step_nos int[])
  returns table (task_no bigint, step_no int, map_no int, item_no int, item text)
  language sql stable
as $$
  select s.task_no, s.step_no, s.map_no, s.item_no, s.item::text
    from unnest(p_task_nos, p_step_nos) as wanted (task_no, step_no)
   cross join lateral (select k.task_no, k.step_no, k.map_no, k.item_no, k.item from tasker_step k
                        where k.task_no = wanted.task_no and k.step_no = wanted.step_no offset 0) s
$$;

-- source: functions/tasker_read_results.sql c1fb935c2634
-- tasker_read_results: results of steps that have one; a skipped step's is null.
-- needs: tasker_result_text
--   a result that lies in the object store comes as tasker_result_text has it
create or replace function tasker_read_results (p_task_nos bigint[], p_step_nos int[])
  returns table (task_no bigint, step_no int, result text)
  language sql stable
as $$
  select s.task_no, s.step_no, case when s.result ? '$object' then tasker_result_text(s.task_no, s.step_no, s.result) else coalesce(s.result::text, 'null') end
    from unnest(p_task_nos, p_step_nos) as wanted (task_no, step_no)
   cross join lateral (select k.task_no, k.step_no, k.result from tasker_step k
                        where k.task_no = wanted.task_no and k.step_no = wanted.step_no and k.state in (4, 7, 8) offset 0) s
$$;

-- source: functions/tasker_read_tasks.sql d8c800444879
-- tasker_read_tasks: what every step of a task shares, for an engine that has just claimed some of them.
create or replace function tasker_read_tasks (p_task_nos bigint[])
  returns table (task_no bigint, task_id uuid, context text, correlation_id text, traceparent text)
  language sql stable
as $$
  select t.task_no, t.task_id, t.context::text, t.correlation_id, t.traceparent
    from unnest(p_task_nos) as wanted (task_no)
   cross join lateral (select k.task_no, k.task_id, k.context, k.correlation_id, k.traceparent from tasker_task k where k.task_no = wanted.task_no offset 0) t
$$;

-- source: functions/tasker_ready_since.sql a873616e4de8
-- tasker_ready_since: when a step could run for the first time: its last parent had ended, or its task was to begin.
create or replace function tasker_ready_since (p_task_no bigint, p_step_no int)
  returns timestamptz
  language sql stable
as $$
  select coalesce(
    (select max(k.finished_at)
       from (select s.definition_id, coalesce(s.map_no, s.step_no) as template_no from tasker_step s where s.task_no = p_task_no and s.step_no = p_step_no offset 0) s
      cross join lateral (select q.parents from tasker_template q where q.definition_id = s.definition_id and q.step_no = s.template_no offset 0) p
      cross join unnest(p.parents) as parent (step_no)
      cross join lateral (select c.finished_at from tasker_step c where c.task_no = p_task_no and c.step_no = parent.step_no offset 0) k),
    (select greatest(t.created_at, t.run_at) from tasker_task t where t.task_no = p_task_no))
$$;

-- source: functions/tasker_reap_workers.sql 5aa128e24579
-- tasker_reap_workers: takes the steps of dead engines back. Every engine calls it again and again; it acts on what it finds, so no death is missed.
--   An engine whose advisory lock is free has no connection left: its lease is cut to p_grace, and a live one renews it when it reconnects.
--   Only the lease proves a death. Within a new life of the server a free lock says nothing.
--   moves  running -> retrying (at once) or -> failed when its attempts are used up: the running attempt is charged, as worker_crashed
--   locks  worker rows, then what tasker_fail_steps locks     events step.failed, step.retried
--   returns how many steps were taken back: those of one dead engine at most, the next call takes the next one's
create or replace function tasker_reap_workers (p_worker int, p_grace interval default '1 second')
  returns int
  language plpgsql
as $$
declare
  v_worker tasker_worker;
  v_taken int := 0;
begin
  for v_worker in
    select w.* from tasker_worker w
     where w.worker_id <> p_worker
       and (w.lease_until > tasker_clock() + p_grace
            or w.lease_until <= tasker_clock() and exists (select from tasker_claim c where c.worker_id = w.worker_id))
     order by w.worker_id
  loop
    if v_worker.lease_until <= tasker_clock() then
      v_taken := v_taken + tasker_rescue_steps(v_worker.worker_id);
      exit when v_taken > 0;   -- one engine's tasks are locked at a time, in their order
    elsif v_worker.server_started_at = pg_postmaster_start_time() and pg_try_advisory_lock(77, v_worker.worker_id) then
      perform pg_advisory_unlock(77, v_worker.worker_id);
      update tasker_worker w set lease_until = tasker_clock() + p_grace
       where w.worker_id = v_worker.worker_id and w.seen_at = v_worker.seen_at;
    end if;
  end loop;
  if v_taken = 0 then
    -- a call that was under way when its engine signed off has claimed for nobody
    v_taken := coalesce((select sum(tasker_rescue_steps(o.worker_id)) from (
      select distinct c.worker_id from tasker_claim c where not exists (select from tasker_worker w where w.worker_id = c.worker_id) limit 1) o), 0);
  end if;
  delete from tasker_worker w
   where w.lease_until < tasker_clock() - interval '1 hour' and not exists (select from tasker_claim c where c.worker_id = w.worker_id);
  return v_taken;
end
$$;

-- source: functions/tasker_record_delivery.sql d13946274c68
-- tasker_record_delivery: a subscriber has taken everything up to an event.
--   p_delivered  how many of these were for it     fence  the owner's
--   returns false when another engine owns the subscription by now; then nothing is recorded
create or replace function tasker_record_delivery (p_name text, p_fence bigint, p_event_id bigint, p_delivered int)
  returns boolean
  language sql
as $$
  with recorded as (
    update tasker_subscription s
       set event_id = p_event_id, attempts = 0, failures = 0, first_refused_at = null, next_try_at = null, last_error = null,
           delivered_count = s.delivered_count + p_delivered,
           delivered_at = case when p_delivered > 0 then tasker_clock() else s.delivered_at end
     where s.name = p_name and s.fence = p_fence
    returning s.name
  )
  select exists (select from recorded)
$$;

-- source: functions/tasker_recount_due.sql d74d7c3e3073
-- tasker_recount_due: which tasks must be counted anew when these steps end badly.
--   Not so when only counted steps fail in a task where something has failed before: there, what is blocked is just taken off the count.
create or replace function tasker_recount_due (p_task_nos bigint[], p_step_nos int[])
  returns bigint[]
  language sql stable
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
  select array(
    select distinct ending.task_no
      from unnest(p_task_nos, p_step_nos) as ending (task_no, step_no)
     cross join lateral (select k.counted, k.children is not null and (k.state = 6 or k.cancel_requested) as leads_cancelled
                           from tasker_step k where k.task_no = ending.task_no and k.step_no = ending.step_no offset 0) s
     cross join lateral (select k.failed_count + k.cancelled_count as lost from tasker_task k where k.task_no = ending.task_no offset 0) t
     where t.lost = 0 or not s.counted or s.leads_cancelled
     order by 1)
$$;

-- source: functions/tasker_recount_task.sql e4ad1baeb052
-- tasker_recount_task: counts anew which steps of a task can still end, after a step failed or was led out of failure.
--   A leaf count no longer tells when nothing can progress, so from now on every open step that no failed step blocks is counted.
--   moves  task -> failed or cancelled when nothing can progress; a settled task in which something can -> running
--   locks  the task; the caller holds everything in it that can move     events task.failed | cancelled | completed when it settles
create or replace function tasker_recount_task (p_task_no bigint, p_actor text default null, p_reason text default null)
  returns smallint
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task tasker_task;
  v_remaining int;
  v_failed int;
  v_cancelled int;
  v_state smallint;
begin
  select t.* into v_task from tasker_task t where t.task_no = p_task_no for update;

  with recursive blocked (step_no) as (
    select c.step_no from tasker_step s, unnest(s.children) as c (step_no) where s.task_no = p_task_no and s.state = 5
    union
    select c.step_no
      from blocked b
     cross join lateral (select k.children from tasker_step k where k.task_no = p_task_no and k.step_no = b.step_no and k.state = 0 offset 0) s,
           unnest(s.children) as c (step_no)
  ),
  open as (
    select s.step_no, s.counted, not (s.state = 0 and s.step_no in (select b.step_no from blocked b)) as free
      from tasker_step s where s.task_no = p_task_no and s.state in (0, 1, 2, 3)
  ),
  marked as (
    update tasker_step s set counted = open.free
      from open where s.task_no = p_task_no and s.step_no = open.step_no and case when open.counted <> open.free then true end
  )
  select count(*) filter (where open.free) into v_remaining from open;
  select count(*) filter (where s.state = 5), count(*) filter (where s.state = 6) into v_failed, v_cancelled
    from tasker_step s where s.task_no = p_task_no;

  v_state := case when v_remaining > 0 then case when v_task.started_at is null then 0 else 2 end
                  when v_task.cancel_requested_at is not null then 6 when v_failed > 0 then 5 when v_cancelled > 0 then 6 else 4 end;
  update tasker_task t
     set remaining = v_remaining, failed_count = v_failed, cancelled_count = v_cancelled, state = v_state,
         finished_at = case when v_remaining > 0 then null when v_state = v_task.state then v_task.finished_at else tasker_clock() end
   where t.task_no = p_task_no;
  if v_state <> v_task.state then
    insert into tasker_history (task_no, at, from_state, to_state, actor, reason)
    values (p_task_no, tasker_clock(), v_task.state, v_state, p_actor, p_reason);
  end if;
  return v_state;
end
$$;

-- source: functions/tasker_refuse_cancelled.sql f980b8d6a1a7
-- tasker_refuse_cancelled: nothing leads out of a cancelled task.
--   raises WF002 when the task is cancelled or asked to stop
create or replace function tasker_refuse_cancelled (p_task_no bigint)
  returns void
  language plpgsql
as $$
begin
  if exists (select from tasker_task t where t.task_no = p_task_no and t.cancel_requested_at is not null) then
    raise exception 'the task was cancelled' using errcode = 'WF002';
  end if;
end
$$;

-- source: functions/tasker_refuse_spent.sql bd26ba6833a1
-- tasker_refuse_spent: these steps may be tried once more; attempts are counted in a smallint, and a claim that cannot count stops for all that it takes.
--   moves  none     locks  none: the caller holds the steps     events none
--   raises WF002 when one of them has been tried 32,767 times
create or replace function tasker_refuse_spent (p_task_no bigint, p_step_nos int[])
  returns void
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_name text;
begin
  select tasker_step_name(p.name, s.item_no) into v_name
    from tasker_step s join tasker_template p on p.definition_id = s.definition_id and p.step_no = coalesce(s.map_no, s.step_no)
   where s.task_no = p_task_no and s.step_no = any(p_step_nos) and case when s.attempts >= 32767 then true end
   order by s.step_no limit 1;
  if found then
    raise exception '% has been tried 32,767 times, which is as often as can be; skip or resolve it, or begin a new task', v_name using errcode = 'WF002';
  end if;
end
$$;

-- source: functions/tasker_register_definition.sql 5d3431fff939
-- tasker_register_definition: makes a task definition known; the same content again changes nothing but descriptions, which are no part of it.
--   p_definition  {"namespace", "name", "version", "description", "schema", "fingerprint", "content", "steps": [...]}, steps in topological order;
--                 "schema_text" in place of "schema" keeps the order of its properties, which jsonb does not;
--                 "content" is what the fingerprint is made of
--   moves  none. Content under a used version is immutable; content that no task has used yet is replaced, under a new definition_id
--   locks  the definition     raises WF004 when another content is already in use under this version
create or replace function tasker_register_definition (p_definition jsonb)
  returns int
  language plpgsql
as $$
declare
  v_id int;
  v_fingerprint text;
  v_used boolean;
  v_schema json := coalesce((p_definition ->> 'schema_text')::json, nullif(p_definition -> 'schema', 'null')::json);
begin
  insert into tasker_namespace (namespace, description)
  values (p_definition ->> 'namespace', coalesce(p_definition ->> 'namespace_description', ''))
  on conflict (namespace) do update set description = excluded.description
    where excluded.description <> '' and tasker_namespace.description <> excluded.description;

  loop
    select d.definition_id, d.fingerprint, d.used into v_id, v_fingerprint, v_used
      from tasker_definition d
     where d.namespace = p_definition ->> 'namespace' and d.name = p_definition ->> 'name' and d.version = p_definition ->> 'version'
       for update;
    if not found then
      insert into tasker_definition as d
        (namespace, name, version, version_rank, prerelease, description, schema, fingerprint, content, step_count, created_at)
      values
        (p_definition ->> 'namespace', p_definition ->> 'name', p_definition ->> 'version', tasker_version_rank(p_definition ->> 'version'),
         position('-' in p_definition ->> 'version') > 0, coalesce(p_definition ->> 'description', ''), v_schema, p_definition ->> 'fingerprint',
         coalesce(p_definition -> 'content', '{}'), jsonb_array_length(p_definition -> 'steps'), tasker_clock())
      on conflict (namespace, name, version) do nothing
      returning d.definition_id into v_id;
      exit when found;
      continue;   -- another has registered it in this moment, or replaced it: neither is seen before the next statement
    end if;
    if v_fingerprint = p_definition ->> 'fingerprint' then
      update tasker_definition d set description = coalesce(p_definition ->> 'description', '')
       where d.definition_id = v_id and d.description <> coalesce(p_definition ->> 'description', '');
      update tasker_template p set description = coalesce(step.value ->> 'description', '')
        from jsonb_array_elements(p_definition -> 'steps') with ordinality as step (value, place)
       where p.definition_id = v_id and p.step_no = step.place - 1 and p.description <> coalesce(step.value ->> 'description', '');
      perform tasker_hide_keys(p_definition);
      return v_id;
    end if;
    if v_used then
      raise exception '%/%@% is in use with other content', p_definition ->> 'namespace', p_definition ->> 'name', p_definition ->> 'version'
        using errcode = 'WF004', hint = 'give the changed workflow a new version';
    end if;
    delete from tasker_definition d where d.definition_id = v_id;   -- its number goes too: whoever remembers content by it never meets other content
  end loop;

  insert into tasker_template
    (definition_id, step_no, name, description, handler, parents, children, retryable, retry_limit, timeout_ms,
     backoff_base, backoff_multiplier, backoff_cap, backoff_jitter, output_schema, handler_config, decision, for_each, for_each_path,
     labels, gated, resources)
  select v_id, step.place - 1, step.value ->> 'name', coalesce(step.value ->> 'description', ''), step.value ->> 'handler',
         array(select jsonb_array_elements_text(step.value -> 'parents')::int order by 1),
         array(select jsonb_array_elements_text(step.value -> 'children')::int order by 1),
         (step.value ->> 'retryable')::boolean, (step.value ->> 'retry_limit')::int, (step.value ->> 'timeout_ms')::bigint,
         (step.value #>> '{backoff,base}')::float8, (step.value #>> '{backoff,multiplier}')::float8,
         (step.value #>> '{backoff,cap}')::float8, (step.value #>> '{backoff,jitter}')::float8,
         nullif(step.value -> 'output_schema', 'null'), nullif(step.value -> 'handler_config', 'null'),
         coalesce((step.value ->> 'decision')::boolean, false), (step.value #>> '{for_each,step}')::int,
         array(select jsonb_array_elements_text(step.value #> '{for_each,path}')),
         array(select jsonb_array_elements_text(step.value -> 'needs') order by 1),
         step.value ? 'needs' or step.value ? 'limit' or p_definition ? 'limit' and step.value -> 'parents' = '[]',
         coalesce(step.value -> 'resources', '{}')
    from jsonb_array_elements(p_definition -> 'steps') with ordinality as step (value, place);
  insert into tasker_lane (definition_id, labels)
  select distinct v_id, p.labels from tasker_template p where p.definition_id = v_id and p.labels <> '{}'
  on conflict (definition_id, labels) do nothing;
  perform tasker_declare_limits(p_definition);
  perform tasker_hide_keys(p_definition);
  return v_id;
end
$$;

-- source: functions/tasker_register_worker.sql 91625fd17f1f
-- tasker_register_worker: an engine process begins; its id is new at every start, so nothing of an earlier life can be mistaken for its own.
--   p_session_lock  true when the caller's connections are real sessions that can hold advisory lock (77, worker_id) for as long as they live
--   returns the worker's id; its lease runs p_lease from now by the database's clock
create or replace function tasker_register_worker
  (p_name text, p_runner text, p_concurrency int, p_definitions int[], p_lease interval, p_session_lock boolean, p_labels text[] default '{}')
  returns int
  language sql
as $$
  insert into tasker_worker (name, runner, concurrency, definitions, started_at, seen_at, lease_until, server_started_at, labels)
  values (p_name, p_runner, p_concurrency, p_definitions, tasker_clock(), tasker_clock(), tasker_clock() + p_lease,
          case when p_session_lock then pg_postmaster_start_time() end, p_labels)
  returning worker_id
$$;

-- source: functions/tasker_rehash_password.sql 73cc1ae448ba
-- tasker_rehash_password: the same password, hashed at today's cost. Nothing happens where it was changed meanwhile.
--   locks  the account
create or replace function tasker_rehash_password (p_account_id int, p_former_hash text, p_password_hash text)
  returns boolean
  language sql
as $$
  with kept as (
    update tasker_account a set password_hash = p_password_hash where a.account_id = p_account_id and a.password_hash = p_former_hash returning 1
  )
  select exists (select from kept);
$$;

-- source: functions/tasker_release_steps.sql 9fc18466faaf
-- tasker_release_steps: an engine hands back steps it will not run; the attempt is not charged.
--   moves  running -> ready (or cancelled when it was asked to stop)     locks  as tasker_fail_steps
--   fence  state, worker and attempt     events none; the history keeps the move
create or replace function tasker_release_steps (p_worker int, p_task_nos bigint[], p_step_nos int[], p_attempts smallint[])
  returns int
  language plpgsql
as $$
declare
  v_now timestamptz := tasker_clock();
  v_held record;
  v_step tasker_step;
  v_released int := 0;
  v_recount bigint[];
  v_ended_tasks bigint[];
  v_ended_steps int[];
begin
  select array_agg(h.task_no), array_agg(h.step_no) into v_ended_tasks, v_ended_steps
    from unnest(p_task_nos, p_step_nos) as h (task_no, step_no)
   cross join lateral (select k.cancel_requested from tasker_step k where k.task_no = h.task_no and k.step_no = h.step_no offset 0) s
   where s.cancel_requested;
  v_recount := tasker_recount_due(v_ended_tasks, v_ended_steps);
  perform tasker_hold_queues(v_recount);
  perform tasker_hold_steps(p_task_nos, p_step_nos, v_recount);
  v_ended_tasks := null;
  v_ended_steps := null;
  for v_held in
    select h.task_no, h.step_no, h.attempt from unnest(p_task_nos, p_step_nos, p_attempts) as h (task_no, step_no, attempt) order by 1, 2
  loop
    update tasker_step s
       set state = case when s.cancel_requested then 6 else 1 end, worker_id = null,
           attempts = s.attempts - (not s.cancel_requested)::int, finished_at = case when s.cancel_requested then v_now end
     where s.task_no = v_held.task_no and s.step_no = v_held.step_no and s.state = 2 and s.worker_id = p_worker and s.attempts = v_held.attempt
    returning s.* into v_step;
    continue when not found;
    v_released := v_released + 1;
    insert into tasker_history (task_no, step_no, at, from_state, to_state, attempt, worker_id)
    values (v_step.task_no, v_step.step_no, v_now, 2, v_step.state, v_held.attempt, p_worker);
    if v_step.state = 6 then
      v_ended_tasks := v_ended_tasks || v_step.task_no;
      v_ended_steps := v_ended_steps || v_step.step_no;
    else
      insert into tasker_ready (rank, task_no, step_no, definition_id)
      select case when v_step.paused then 'infinity' else coalesce(v_step.started_at, v_now) - t.priority * interval '1 minute' end,
             v_step.task_no, v_step.step_no, case when v_step.paused or v_step.gated then -v_step.definition_id else v_step.definition_id end
        from tasker_task t where t.task_no = v_step.task_no;
    end if;
  end loop;
  if v_ended_tasks is not null then
    perform tasker_block_descendants(v_ended_tasks, v_ended_steps);
  end if;
  if v_released > 0 then
    perform pg_notify('tasker_ready', '');
  end if;
  return v_released;
end
$$;

-- source: functions/tasker_remove_preset.sql 907f6736a04a
-- tasker_remove_preset: it is gone; tasks that were launched with it stay.
--   raises WF001 unknown preset
create or replace function tasker_remove_preset (p_namespace text, p_name text, p_preset text)
  returns void
  language plpgsql
as $$
begin
  delete from tasker_preset s where s.namespace = p_namespace and s.name = p_name and s.preset = p_preset;
  if not found then
    raise exception 'there is no preset "%" of %/%', p_preset, p_namespace, p_name using errcode = 'WF001';
  end if;
end
$$;

-- source: functions/tasker_remove_role.sql bd759aeb10c7
-- tasker_remove_role: there is no such role any more.
--   locks  the role     raises WF001 when there is none, WF002 while accounts have it     audit tasker.account:update
create or replace function tasker_remove_role (p_role text, p_actor text, p_reason text, p_address text)
  returns void
  language plpgsql
as $$
begin
  delete from tasker_role r where r.role = p_role;
  if not found then
    raise exception 'there is no role %', p_role using errcode = 'WF001';
  end if;
  if exists (select from tasker_grant g where g.role = p_role) then
    raise exception 'accounts have the role %; take it from them first', p_role using errcode = 'WF002';
  end if;
  perform tasker_audit_note(p_actor, 'tasker.account:update', 'done', null, 'role ' || p_role, p_reason, p_address, '{"removed": true}');
end
$$;

-- source: functions/tasker_remove_schedule.sql e90d50b797ff
-- tasker_remove_schedule: it is gone; the tasks it has made stay.
--   raises WF001 unknown schedule
create or replace function tasker_remove_schedule (p_schedule_id int)
  returns void
  language plpgsql
as $$
begin
  delete from tasker_schedule s where s.schedule_id = p_schedule_id;
  if not found then
    raise exception 'there is no schedule %', p_schedule_id using errcode = 'WF001';
  end if;
end
$$;

-- source: functions/tasker_remove_view.sql 43dc41b9f209
-- tasker_remove_view: it is gone, and what was still to be told of it.
--   moves, events  none     locks  the view     raises  WF001 unknown view
create or replace function tasker_remove_view (p_view_id bigint)
  returns void
  language plpgsql
as $$
begin
  delete from tasker_view v where v.view_id = p_view_id;
  if not found then
    raise exception 'there is no view %', p_view_id using errcode = 'WF001';
  end if;
  delete from tasker_notice n where n.view_id = p_view_id;
end
$$;

-- source: functions/tasker_rescue_steps.sql 99c9d0053b70
-- tasker_rescue_steps: takes back every step that an engine with an expired lease still holds, found by its claims.
--   One whose lease is renewed, or just being renewed, keeps them; one that has signed off has none to keep.
--   moves  as tasker_fail_steps with error worker_crashed and no wait     locks  the engine's row and claims (rescued elsewhere: skipped), then steps
--   returns how many steps it found
create or replace function tasker_rescue_steps (p_worker int)
  returns int
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_nos bigint[];
  v_step_nos int[];
  v_attempts smallint[];
  v_claims int[];
begin
  -- a renewal that is under way holds the row, and one that comes later finds the lease over, as the row is ours
  perform from tasker_worker w where w.worker_id = p_worker and w.lease_until <= tasker_clock() for update skip locked;
  if not found and exists (select from tasker_worker w where w.worker_id = p_worker) then
    return 0;
  end if;
  select array_agg(c.claim_no) into v_claims
    from (select k.claim_no from tasker_claim k where k.worker_id = p_worker for update skip locked) c;
  select array_agg(s.task_no order by s.task_no, s.step_no), array_agg(s.step_no order by s.task_no, s.step_no),
         array_agg(s.attempts order by s.task_no, s.step_no)
    into v_task_nos, v_step_nos, v_attempts
    from (select distinct x.task_no, x.step_no
            from tasker_claim k, unnest(k.task_nos, k.step_nos) as x (task_no, step_no)
           where k.worker_id = p_worker and k.claim_no = any(v_claims)) held
   cross join lateral (select k.task_no, k.step_no, k.attempts from tasker_step k
                        where k.task_no = held.task_no and k.step_no = held.step_no and k.state = 2 and k.worker_id = p_worker offset 0) s;
  if v_task_nos is not null then
    perform tasker_fail_steps(p_worker, v_task_nos, v_step_nos, v_attempts,
      (select jsonb_agg(jsonb_build_object('type', 'worker_crashed', 'message', 'the engine that ran this step died', 'code', null,
                                           'retryable', true, 'delay', 0)) from unnest(v_task_nos)));
    perform pg_notify('tasker_ready', '');
  end if;
  delete from tasker_claim k where k.worker_id = p_worker and k.claim_no = any(v_claims);
  return coalesce(cardinality(v_task_nos), 0);
end
$$;

-- source: functions/tasker_reset_limit.sql 5b7caf4356d0
-- tasker_reset_limit: a limit is again as the definition declares it.
--   moves  none     locks  the limit, then its lines in order     raises WF001, WF006 as tasker_set_limit     events none
create or replace function tasker_reset_limit (p_namespace text, p_name text, p_step_name text, p_actor text, p_seen text default null)
  returns void
  language plpgsql
as $$
declare
  v_declared jsonb;
begin
  select l.declared into v_declared from tasker_limit l where l.namespace = p_namespace and l.name = p_name and l.step_name = p_step_name for update;
  perform tasker_set_limit(p_namespace, p_name, p_step_name, (v_declared ->> 'at_once')::int, (v_declared ->> 'per_period')::int, p_actor, p_seen => p_seen);
  update tasker_limit l set changed_by = null, changed_at = null, change_reason = null where l.namespace = p_namespace and l.name = p_name and l.step_name = p_step_name;
end
$$;

-- source: functions/tasker_resolve_dependencies.sql 282afe2d4b88
-- tasker_resolve_dependencies: brings a task to where its steps' states say it should be: unlocks what has no open parent left, and settles the task.
--   After tasker_update_step_status it does what the engine's own path does at once. Calling it when nothing has changed changes nothing.
--   moves  pending -> ready | skipped (also what no decision chose), descendants of a cancelled step -> cancelled, task -> its state     locks  as tasker_hold_tasks, then the task
--   returns the steps that became ready     raises WF001 unknown task     events step.skipped, step.cancelled, task.*
create or replace function tasker_resolve_dependencies (p_task_id uuid)
  returns table (step_id bigint, step_name text)
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
#variable_conflict use_column
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_now timestamptz := tasker_clock();
  v_step record;
  v_ready int[] := '{}';
begin
  perform tasker_hold_tasks(array[v_task_no]);
  for v_step in
    select s.step_no, s.definition_id, s.bypass, p.parents, t.priority, s.first_item, s.item_count
      from tasker_step s join tasker_template p using (definition_id, step_no) join tasker_task t using (task_no)
     where s.task_no = v_task_no and s.state = 0 and p.parents <> '{}'   -- a root waits for its time: tasker_wake_due
     order by s.step_no
  loop
    update tasker_step s
       set pending = parent.open,
           state = case when parent.lost > 0 then 6 when passed.over then 7 when parent.open > 0 then 0 when v_step.bypass then 7 else 1 end,
           passed_over = passed.over and parent.lost = 0,
           finished_at = case when parent.lost > 0 or passed.over or parent.open = 0 and v_step.bypass then v_now end
      from (select count(*) filter (where o.state not in (4, 7, 8))::int as open, count(*) filter (where o.state = 6) as lost
              from tasker_step o where o.task_no = v_task_no and (o.step_no = any(v_step.parents) or o.step_no between v_step.first_item and v_step.first_item + v_step.item_count - 1)) parent,
           tasker_is_passed_over(v_task_no, v_step.step_no) as passed (over)
     where s.task_no = v_task_no and s.step_no = v_step.step_no and case when s.state = 0 then true end
       and (s.pending <> parent.open or parent.lost > 0 or parent.open = 0 or passed.over);
    continue when not found;
    insert into tasker_history (task_no, step_no, at, from_state, to_state, reason)
    select s.task_no, s.step_no, v_now, 0, s.state, case when s.passed_over then 'no decision chose a way to it' end from tasker_step s
     where s.task_no = v_task_no and s.step_no = v_step.step_no and s.state in (6, 7);
    insert into tasker_ready (rank, task_no, step_no, definition_id)
    select case when s.paused then 'infinity' else v_now - v_step.priority * interval '1 minute' end, s.task_no, s.step_no,
           case when s.paused or s.gated then -s.definition_id else s.definition_id end
      from tasker_step s
     where s.task_no = v_task_no and s.step_no = v_step.step_no and s.state = 1;
    if found then
      v_ready := v_ready || v_step.step_no;
    end if;
  end loop;
  perform tasker_recount_task(v_task_no);
  if v_ready <> '{}' then
    perform pg_notify('tasker_ready', '');
  end if;
  perform pg_notify('tasker_news', '');
  return query
  select tasker_step_id(s.task_no, s.step_no), p.name
    from tasker_step s join tasker_template p using (definition_id, step_no)
   where s.task_no = v_task_no and s.step_no = any(v_ready) order by s.step_no;
end
$$;

-- source: functions/tasker_resolve_step.sql 0a42401b7dd2
-- tasker_resolve_step: an operator supplies the outcome of a step; it counts as completed and its children receive the result.
--   moves  pending, ready, retrying, failed -> resolved     locks  as tasker_take_step, then the task
--   raises WF001 unknown task or step, WF002 when it is running or has ended otherwise, or the task was cancelled, 22023 when it is a decision
--          and the result is no list of its children
--   events step.resolved
create or replace function tasker_resolve_step (p_task_id uuid, p_step_name text, p_result jsonb, p_actor text, p_reason text)
  returns text
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_step tasker_step;
begin
  v_step := tasker_take_step(v_task_no, tasker_step_no(v_task_no, p_step_name));
  if v_step.state not in (0, 1, 3, 5) then
    raise exception 'the step is %, it cannot be resolved', tasker_state_name(v_step.state) using errcode = 'WF002';
  end if;
  perform tasker_refuse_cancelled(v_task_no);
  return tasker_satisfy_step(v_step, 8::smallint, p_result, p_actor, p_reason);
end
$$;

-- source: functions/tasker_resume_schedule.sql 2d8d5fcd7f54
-- tasker_resume_schedule: it runs again, from p_next_run_at on; what it did not run while it was paused is not made up for.
--   raises WF001 unknown schedule, WF002 when it is not paused
create or replace function tasker_resume_schedule (p_schedule_id int, p_next_run_at timestamptz, p_actor text, p_reason text)
  returns void
  language plpgsql
as $$
declare
  v_paused boolean;
begin
  select s.paused into v_paused from tasker_schedule s where s.schedule_id = p_schedule_id for update;
  if not found then
    raise exception 'there is no schedule %', p_schedule_id using errcode = 'WF001';
  elsif not v_paused then
    raise exception 'the schedule is not paused' using errcode = 'WF002';
  end if;
  -- an engine that claimed it before the pause finds it moved on, and advances nothing
  update tasker_schedule s
     set paused = false, next_run_at = p_next_run_at, claimed_until = null,
         changed_by = p_actor, changed_at = tasker_clock(), change_reason = p_reason
   where s.schedule_id = p_schedule_id;
end
$$;

-- source: functions/tasker_resume_task.sql 2e35fb65b03f
-- tasker_resume_task: a paused task goes on where it stands.
--   moves  none; parked steps stand in the queue again, as if they had become ready now     locks  as tasker_hold_tasks, then the task
--   raises WF001 unknown task, WF002 when it is not paused     events none; the history says who and why
create or replace function tasker_resume_task (p_task_id uuid, p_actor text, p_reason text)
  returns text
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_now timestamptz := tasker_clock();
  v_task tasker_task;
begin
  perform tasker_hold_tasks(array[v_task_no]);
  select t.* into v_task from tasker_task t where t.task_no = v_task_no for update;
  if not found then
    raise exception 'the task was dropped in this moment' using errcode = 'WF001';
  end if;
  if not v_task.paused or v_task.finished_at is not null then
    raise exception 'the task is not paused' using errcode = 'WF002';
  end if;
  update tasker_step s set paused = false where s.task_no = v_task_no and s.paused;
  update tasker_ready r
     set rank = v_now - v_task.priority * interval '1 minute',
         definition_id = (select case when s.gated then -s.definition_id else s.definition_id end from tasker_step s where s.task_no = r.task_no and s.step_no = r.step_no)
   where r.task_no = v_task_no and r.definition_id < 0;
  update tasker_task t set paused = false where t.task_no = v_task_no;
  insert into tasker_history (task_no, at, from_state, to_state, actor, reason, detail)
  values (v_task_no, v_now, v_task.state, v_task.state, p_actor, p_reason, '{"paused": false}');
  perform pg_notify('tasker_ready', '');
  perform pg_notify('tasker_news', '');
  return tasker_state_name(v_task.state);
end
$$;

-- source: views/tasker_retentions.sql 6073e9687576
-- tasker_retentions: how long each namespace keeps a task after its end: as it was set for it, else as the default says. Null: for ever.
create or replace view tasker_retentions as
select n.namespace, case when n.retention_set_at is null then d.retention else n.retention end as retention,
       n.retention_set_at is null as by_default,
       case when n.retention_set_at is null then d.set_by else n.retention_set_by end as set_by,
       case when n.retention_set_at is null then d.set_at else n.retention_set_at end as set_at
  from tasker_namespace n
  left join tasker_retention_default d on d.only_row;

-- source: functions/tasker_retention_begin.sql 01a4d2f0dbdb
-- tasker_retention_begin: what ended before this moment is older than the namespace of the definition keeps it.
-- needs: tasker_clock, tasker_retentions
--   returns null when tasks are kept for ever
create or replace function tasker_retention_begin (p_definition int)
  returns timestamptz
  language sql stable
as $$
  select tasker_clock() - r.retention
    from tasker_definition d join tasker_retentions r using (namespace)
   where d.definition_id = p_definition
$$;

-- source: functions/tasker_retire_worker.sql 42f8022928f7
-- tasker_retire_worker: an engine ends by itself; nothing is left under its name.
--   moves  what it still holds -> ready, uncharged     locks  as tasker_release_steps
create or replace function tasker_retire_worker (p_worker int)
  returns void
  language plpgsql
as $$
begin
  perform tasker_release_steps(p_worker, array_agg(h.task_no), array_agg(h.step_no), array_agg(h.attempt))
    from tasker_worker_steps(p_worker) h having count(*) > 0;
  delete from tasker_claim c where c.worker_id = p_worker;
  delete from tasker_worker w where w.worker_id = p_worker;
end
$$;

-- source: functions/tasker_retry_downstream.sql 613a159b5ad8
-- tasker_retry_downstream: an operator lets a step that has ended, and everything below it, run again, with a new context if one is given.
--   p_context  null keeps the task's context; otherwise valid already, and the old one is kept in the history
--   moves  the step -> ready (pending while a parent is open), every step below it -> pending, with attempts anew; results and errors are cleared,
--          the history keeps them. The task, completed or failed -> running
--   locks  its queue rows, then all of its steps by step_no, step 0 among them as tasker_hold_steps needs it, then the task
--   raises WF001 unknown task or step, WF002 when the step has not ended, a step of the task is running, the task was cancelled, or a step to
--          run again was tried as often as can be counted; 40001 when a map step made its items in this moment: they are not held, and the
--          caller starts again
--   events none of its own; the history says who and why
-- Nothing of the task may run meanwhile: the engine that holds a step of it would go on with the results and the context it knows.
create or replace function tasker_retry_downstream (p_task_id uuid, p_step_name text, p_context jsonb, p_actor text, p_reason text)
  returns text
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_step_no int := tasker_step_no(v_task_no, p_step_name);
  v_now timestamptz := tasker_clock();
  v_made int := (select t.item_count from tasker_task t where t.task_no = v_task_no);
  v_reset int[];
  v_items int[];
  v_running text;
  v_move bigint;
  v_task tasker_task;
  v_step tasker_step;
begin
  perform tasker_hold_queues(array[v_task_no]);
  perform from tasker_step s where s.task_no = v_task_no order by s.step_no for update;
  select t.* into v_task from tasker_task t where t.task_no = v_task_no for update;
  if not found then
    raise exception 'the task was dropped in this moment' using errcode = 'WF001';
  end if;
  if v_task.item_count <> v_made then
    raise exception 'a map step made its items while the task was being held' using errcode = '40001';
  end if;
  select s.* into v_step from tasker_step s where s.task_no = v_task_no and s.step_no = v_step_no;
  if v_step.map_no is not null then
    raise exception 'an item is made anew with its step; retry that with everything downstream' using errcode = 'WF002';
  end if;
  if v_step.state in (0, 1, 2, 3) then
    raise exception 'the step is %, only one that has ended can be retried with everything downstream', tasker_state_name(v_step.state) using errcode = 'WF002';
  end if;
  select string_agg(tasker_step_name(p.name, s.item_no), ', ' order by s.step_no) into v_running
    from tasker_step s join tasker_template p on p.definition_id = s.definition_id and p.step_no = coalesce(s.map_no, s.step_no)
   where s.task_no = v_task_no and s.state = 2;
  if v_running is not null then
    raise exception 'still running: %; wait for it, or cancel it first', v_running using errcode = 'WF002';
  end if;
  perform tasker_refuse_cancelled(v_task_no);

  v_reset := tasker_downstream(v_task_no, v_step_no);
  if v_reset = '{}' then
    raise exception 'a step that it waits for was cancelled or did not choose it; retry that one with everything downstream' using errcode = 'WF002';
  end if;
  perform tasker_refuse_spent(v_task_no, v_reset);
  -- items are made anew with their map step; those of before stay on record, and what of them could still move is over
  v_items := array(select s.step_no from tasker_step s where s.task_no = v_task_no and s.map_no = any(v_reset) and s.state not in (4, 7, 8));
  delete from tasker_ready r where r.task_no = v_task_no and r.step_no = any(v_reset || v_items);
  delete from tasker_waiting w where w.task_no = v_task_no and w.step_no = any(v_reset || v_items);
  delete from tasker_delayed d where d.task_no = v_task_no and d.step_no = any(v_reset || v_items);

  insert into tasker_history (task_no, step_no, at, from_state, to_state, actor, reason, detail)
  select v_task_no, s.step_no, v_now, s.state, 0, p_actor, p_reason, jsonb_build_object('reset', true, 'result', s.result)
    from tasker_step s where s.task_no = v_task_no and s.step_no = any(v_reset) and s.state <> 0 order by s.step_no;
  insert into tasker_history (task_no, step_no, at, from_state, to_state, actor, reason, detail)
  select v_task_no, s.step_no, v_now, s.state, 7, p_actor, p_reason, '{"reset": true}'
    from tasker_step s where s.task_no = v_task_no and s.step_no = any(v_items) order by s.step_no;
  update tasker_step s set state = 7, finished_at = v_now, counted = false, paused = false where s.task_no = v_task_no and s.step_no = any(v_items);
  update tasker_step s
     set state = 0, pending = parent.open, retry_limit = least(s.attempts + p.retry_limit, 32767), paused = v_task.paused,
         bypass = s.bypass and s.step_no <> v_step_no, cancel_requested = false, passed_over = false, first_item = null, item_count = null,
         finished_at = null, result = null, error = null
    from tasker_template p
   cross join lateral (select count(*) filter (where o.state not in (4, 7, 8) or o.step_no = any(v_reset))::int as open
                         from unnest(p.parents) as x (step_no)
                        cross join lateral (select k.step_no, k.state from tasker_step k where k.task_no = v_task_no and k.step_no = x.step_no offset 0) o) parent
   where s.task_no = v_task_no and s.step_no = any(v_reset) and p.definition_id = v_task.definition_id and p.step_no = s.step_no;
  -- like a root whose time has come, but at once
  update tasker_step s set state = 1 where s.task_no = v_task_no and s.step_no = v_step_no and s.pending = 0;
  if found then
    insert into tasker_ready (rank, task_no, step_no, definition_id)
    values (case when v_task.paused then 'infinity' else v_now - v_task.priority * interval '1 minute' end, v_task_no, v_step_no,
            case when v_task.paused or (select s.gated from tasker_step s where s.task_no = v_task_no and s.step_no = v_step_no)
                 then -v_task.definition_id else v_task.definition_id end);
    perform pg_notify('tasker_ready', '');
  end if;

  if p_context is not null and p_context is distinct from v_task.context then
    insert into tasker_history (task_no, at, from_state, to_state, actor, reason, detail)
    values (v_task_no, v_now, v_task.state, v_task.state, p_actor, p_reason, jsonb_build_object('context_before', v_task.context))
    returning event_id into v_move;
    update tasker_task t set context = p_context, context_since = v_move where t.task_no = v_task_no;
    -- what waits before a limit lines up anew, where the new context says
    with moved as (
      delete from tasker_waiting w where w.task_no = v_task_no returning w.step_no, w.rank
    )
    update tasker_ready r set rank = m.rank from moved m where r.task_no = v_task_no and r.step_no = m.step_no and r.definition_id < 0;
  end if;
  perform tasker_recount_task(v_task_no, p_actor, p_reason);
  perform pg_notify('tasker_news', '');
  return (select tasker_state_name(s.state) from tasker_step s where s.task_no = v_task_no and s.step_no = v_step_no);
end
$$;

-- source: functions/tasker_retry_step.sql e16ae4bebd03
-- tasker_retry_step: an operator lets a failed step try again, with as many attempts as its template grants; or ends a back-off early.
--   moves  failed, retrying -> ready, and a failed task -> running     locks  as tasker_take_step, then the task
--   raises WF001 unknown task or step, WF002 when the step is neither failed nor retrying, the task was cancelled, or it is tried as often as can be counted
--   events none of its own; the history says who and why
create or replace function tasker_retry_step (p_task_id uuid, p_step_name text, p_actor text, p_reason text)
  returns text
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_step_no int := tasker_step_no(v_task_no, p_step_name);
  v_step tasker_step;
  v_now timestamptz := tasker_clock();
begin
  v_step := tasker_take_step(v_task_no, v_step_no);
  if v_step.state not in (3, 5) then
    raise exception 'the step is %, only a failed or waiting step can be retried', tasker_state_name(v_step.state) using errcode = 'WF002';
  end if;
  perform tasker_refuse_cancelled(v_task_no);
  perform tasker_refuse_spent(v_task_no, array[v_step_no]);
  perform tasker_leave_queue(v_task_no, v_step_no);
  update tasker_step s
     set state = 1, finished_at = null,
         retry_limit = case when v_step.state = 5 then least(s.attempts + p.retry_limit, 32767) else s.retry_limit end
    from tasker_template p
   where s.task_no = v_task_no and s.step_no = v_step_no and p.definition_id = s.definition_id and p.step_no = coalesce(s.map_no, s.step_no);
  insert into tasker_history (task_no, step_no, at, from_state, to_state, actor, reason)
  values (v_task_no, v_step_no, v_now, v_step.state, 1, p_actor, p_reason);
  insert into tasker_ready (rank, task_no, step_no, definition_id)
  select case when v_step.paused then 'infinity' else v_now - t.priority * interval '1 minute' end, v_task_no, v_step_no,
         case when v_step.paused or v_step.gated then -v_step.definition_id else v_step.definition_id end from tasker_task t where t.task_no = v_task_no;
  if v_step.state = 5 then
    perform tasker_recount_task(v_task_no, p_actor, p_reason);
  end if;
  perform pg_notify('tasker_ready', '');
  perform pg_notify('tasker_news', '');
  return 'ready';
end
$$;

-- source: functions/tasker_retry_task.sql 06bb8cad83eb
-- tasker_retry_task: an operator lets every failed step of a task try again.
--   moves  failed steps -> ready, the task -> running     locks  as tasker_hold_tasks, then the task
--   raises WF001 unknown task, WF002 when no step of it is failed, the task was cancelled, or a failed step was tried as often as can be counted
--   events none of its own; the history says who and why
create or replace function tasker_retry_task (p_task_id uuid, p_actor text, p_reason text)
  returns text
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_now timestamptz := tasker_clock();
  v_state smallint;
begin
  perform tasker_hold_tasks(array[v_task_no]);
  perform tasker_refuse_cancelled(v_task_no);
  perform tasker_refuse_spent(v_task_no, array(select s.step_no from tasker_step s where s.task_no = v_task_no and s.state = 5));
  with reopened as (
    update tasker_step s
       set state = 1, finished_at = null, retry_limit = least(s.attempts + p.retry_limit, 32767)
      from tasker_template p
     where s.task_no = v_task_no and s.state = 5 and p.definition_id = s.definition_id and p.step_no = coalesce(s.map_no, s.step_no)
    returning s.step_no, s.definition_id, s.paused, s.gated
  ),
  ready as (
    insert into tasker_ready (rank, task_no, step_no, definition_id)
    select case when r.paused then 'infinity' else v_now - t.priority * interval '1 minute' end, v_task_no, r.step_no,
           case when r.paused or r.gated then -r.definition_id else r.definition_id end
      from reopened r, tasker_task t where t.task_no = v_task_no order by r.step_no
  )
  insert into tasker_history (task_no, step_no, at, from_state, to_state, actor, reason)
  select v_task_no, r.step_no, v_now, 5, 1, p_actor, p_reason from reopened r order by 2;
  if not found then
    select t.state into v_state from tasker_task t where t.task_no = v_task_no;
    raise exception 'the task is % and no step of it is failed', tasker_state_name(v_state) using errcode = 'WF002';
  end if;
  v_state := tasker_recount_task(v_task_no, p_actor, p_reason);
  perform pg_notify('tasker_ready', '');
  perform pg_notify('tasker_news', '');
  return tasker_state_name(v_state);
end
$$;

-- source: functions/tasker_revoke_role.sql 302aaa0cc3e2
-- tasker_revoke_role: an account has not that role there any more.
--   locks  the account     raises WF001 also when it had not; WF002 for the last administrator     audit tasker.account:update
create or replace function tasker_revoke_role (p_name text, p_role text, p_namespace text, p_actor text, p_reason text, p_address text)
  returns void
  language plpgsql
as $$
begin
  delete from tasker_grant g
   where g.account_id = tasker_account_no(p_name) and g.role = p_role and g.namespace is not distinct from p_namespace;
  if not found then
    raise exception 'the account "%" has not the role % there', p_name, p_role using errcode = 'WF001';
  end if;
  perform tasker_need_admin();
  perform tasker_audit_note(p_actor, 'tasker.account:update', 'done', p_namespace, 'account ' || p_name, p_reason, p_address, jsonb_build_object('revoked', p_role));
end
$$;

-- source: functions/tasker_revoke_token.sql 0d226267198c
-- tasker_revoke_token: a token counts for nothing any more.
--   raises WF001 unknown, or not of the account that is named     audit tasker.account:update
create or replace function tasker_revoke_token (p_token_id text, p_account_id int, p_actor text, p_address text)
  returns void
  language plpgsql
as $$
begin
  update tasker_token t set revoked_at = coalesce(t.revoked_at, tasker_clock())
   where t.token_id = p_token_id and (p_account_id is null or t.account_id = p_account_id);
  if not found then
    raise exception 'there is no token %', p_token_id using errcode = 'WF001';
  end if;
  perform tasker_audit_note(p_actor, 'tasker.account:update', 'done', null, 'token ' || p_token_id, null, p_address, '{"changed": "revoked"}');
end
$$;

-- source: functions/tasker_roll_up.sql a14bf7b63d94
-- tasker_roll_up: the next moves of the history are counted in the roll-ups, up to p_limit of them.
--   moves  none     locks  the one row of tasker_rollup_place, for which nobody waits: whoever finds it held leaves the work to its holder
--   A move is counted by its number, once nothing below can still appear, and together with how far they are counted: in one transaction, so exactly once.
--   Call it in a transaction of its own: see tasker_event_horizon.     events none
--   returns counted_to  every move up to this number is counted     is_behind  more can be counted at once
create or replace function tasker_roll_up (p_limit int default 10000)
  returns table (counted_to bigint, is_behind boolean)
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: these few moves are a small part of the tables
as $$
#variable_conflict use_column
declare
  v_place tasker_rollup_place;
  v_horizon record;
  v_until bigint;
  v_seen int;
begin
  select p.* into v_place from tasker_rollup_place p;
  if not found then
    -- which takes a transaction number, so that this call cannot look any further
    insert into tasker_rollup_place default values on conflict do nothing;
    return query select 0::bigint, true;
    return;
  end if;
  counted_to := v_place.counted_to;
  is_behind := false;
  if v_place.counted_to >= coalesce(pg_sequence_last_value(pg_get_serial_sequence('tasker_history', 'event_id')::regclass), 0) then
    return next;
    return;
  end if;
  -- before the row is locked, which would take a transaction number too early
  select h.event_id / 2 as known_to, h.low_xid, h.high_xid into v_horizon from tasker_event_horizon() h;
  select p.* into v_place from tasker_rollup_place p for update skip locked;
  -- a look that is older than the row, because another call was made in between, would lead the place back
  if not found or v_horizon.low_xid < v_place.known_xid or v_horizon.known_to < v_place.known_to then
    return next;
    return;
  end if;

  select max(h.event_id), count(*) into v_until, v_seen
    from (select k.event_id from tasker_history k where k.event_id > v_place.counted_to and k.event_id <= v_place.known_to order by k.event_id limit p_limit) h;
  is_behind := v_seen = p_limit;
  counted_to := case when is_behind then v_until else v_place.known_to end;
  if v_seen > 0 then
    perform tasker_count_moves(v_place.counted_to, counted_to);
    perform tasker_count_failures(v_place.counted_to, counted_to);
  end if;
  update tasker_rollup_place p
     set counted_to = tasker_roll_up.counted_to,
         known_to = case when is_behind then p.known_to else v_horizon.known_to end,
         known_xid = case when is_behind then p.known_xid else v_horizon.high_xid end;
  return next;
end
$$;

-- source: functions/tasker_run_batches.sql 6220ff205eb6
-- tasker_run_batches: the next items of one batch are done, or refused each with its reason. Returns how many.
--   The batches take turns: it is the one that has waited longest since an engine was at it, and that nobody is at now.
--   p_limit, p_for  at most so many items, and none is begun after that time: their locks are held together, and the whole is one statement
--   An item never keeps the batch from going on. What fails for a reason of its own is refused with it. What runs into the time limit of the
--   statement, or has to be tried again, is left for the next call where something was done before it. Begun first it had all the time there is,
--   and is refused for the limit; a conflict, and a server without room, is raised.
--   moves, events  those of the action on each item     locks  the batch, then those of the action
--   raises  40001, 40P01 and class 53 from the first item: the caller tries again
create or replace function tasker_run_batches (p_limit int, p_for interval default '1 second')
  returns int
  language plpgsql
as $$
declare
  v_until timestamptz := clock_timestamp() + p_for;
  v_batch tasker_batch;
  v_item record;
  v_message text;
  v_done int := 0;
  v_refused int := 0;
begin
  select b.* into v_batch from tasker_batch b where b.finished_at is null order by b.worked_at nulls first, b.batch_id limit 1 for update skip locked;
  if not found then
    return 0;
  end if;
  for v_item in
    select i.item_no, i.task_id, i.step_name from tasker_batch_item i
     where i.batch_id = v_batch.batch_id and i.item_no > v_batch.done_count + v_batch.refused_count order by i.item_no limit p_limit
  loop
    v_message := null;
    begin
      perform tasker_act(v_item.task_id, v_batch.action, v_item.step_name, v_batch.given, v_batch.actor, v_batch.reason);
    exception
      -- the last two stand for their whole classes. The limit strikes once in a statement, so nothing may begin after it
      when query_canceled or transaction_rollback or insufficient_resources then
        exit when v_done + v_refused > 0;
        if sqlstate <> '57014' then
          raise;
        end if;
        v_message := 'it could not be done in time: ' || sqlerrm;
        v_until := '-infinity';
      when others then
        v_message := sqlerrm;
    end;
    if v_message is null then
      v_done := v_done + 1;
    else
      v_refused := v_refused + 1;
    end if;
    update tasker_batch_item i set outcome = case when v_message is null then 'done' else 'refused' end, message = v_message
     where i.batch_id = v_batch.batch_id and i.item_no = v_item.item_no;
    exit when clock_timestamp() >= v_until;
  end loop;
  update tasker_batch b
     set done_count = b.done_count + v_done, refused_count = b.refused_count + v_refused, worked_at = clock_timestamp(),
         finished_at = case when not exists (select from tasker_batch_item i where i.batch_id = b.batch_id
                                                and i.item_no > b.done_count + b.refused_count + v_done + v_refused) then tasker_clock() end
   where b.batch_id = v_batch.batch_id;
  perform pg_notify('tasker_news', '');
  return v_done + v_refused;
end
$$;

-- source: functions/tasker_satisfy_step.sql 899df96edfa4
-- tasker_satisfy_step: the common part of skip and resolve: a step ends well without its handler, and its children go on.
--   p_step   the step as tasker_take_step gave it, locked     p_state  7 skipped or 8 resolved
--   moves  p_step -> p_state, children -> ready or, when it is a decision that did not choose them, skipped; a failed task -> running or its end
--   locks  the task; the caller holds everything else in it
--   events step.skipped or step.resolved, task.*
create or replace function tasker_satisfy_step (p_step tasker_step, p_state smallint, p_result jsonb, p_actor text, p_reason text)
  returns text
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_now timestamptz := tasker_clock();
  v_passed int[];
begin
  perform tasker_leave_queue(p_step.task_no, p_step.step_no);
  update tasker_step s set state = p_state, result = p_result, error = null, finished_at = v_now
   where s.task_no = p_step.task_no and s.step_no = p_step.step_no;
  insert into tasker_history (task_no, step_no, at, from_state, to_state, actor, reason)
  values (p_step.task_no, p_step.step_no, v_now, p_step.state, p_state, p_actor, p_reason);
  v_passed := case when p_state = 8 then tasker_pass_over(p_step, p_result) end || p_step.step_no;
  perform tasker_unlock_children(array_fill(p_step.task_no, array[cardinality(v_passed)]), v_passed);
  perform tasker_recount_task(p_step.task_no, p_actor, p_reason);
  perform pg_notify('tasker_ready', '');
  perform pg_notify('tasker_news', '');
  return tasker_state_name(p_state);
end
$$;

-- source: functions/tasker_say_delivery.sql b431f7e5de28
-- tasker_say_delivery: what the handlers of deliveries said, so many seconds ago; the sender takes it as if they were its own.
create or replace function tasker_say_delivery (p_tokens uuid[], p_are_lines boolean[], p_ages float8[], p_fields jsonb[])
  returns void
  language sql
as $$
  insert into tasker_delivery_word (sender, number, said_at, is_line, fields)
  select d.sender, d.number, tasker_clock() - make_interval(secs => said.age), said.is_line, said.fields
    from unnest(p_tokens, p_are_lines, p_ages, p_fields) with ordinality as said (token, is_line, age, fields, place)
    join tasker_delivery d on d.token = said.token and d.kind is null
   order by said.place
$$;

-- source: functions/tasker_searchable.sql 58d04347bd09
-- tasker_searchable: what of a task's context may be found by its words: nothing where the schema marks a secret, else all but what goes by the name of one.
--   p_names  how those names end     changes nothing
create or replace function tasker_searchable (p_context jsonb, p_definition_id int, p_names text[])
  returns jsonb
  language plpgsql
  stable parallel safe
as $$
begin
  if (select d.schema::text from tasker_definition d where d.definition_id = p_definition_id) ~ '"(writeOnly|x-sensitive)"\s*:\s*true|"format"\s*:\s*"password"' then
    return '{}';
  end if;
  return coalesce(tasker_without_secrets(p_context, p_names), '{}');
end
$$;

-- source: functions/tasker_seen.sql 739d6ecb4241
-- tasker_seen: the token of a preview: the same again exactly when the action still does the same to the same steps, none of which has run or
--   ended meanwhile, and the task's context is the same. What the action leaves as it is may change as it likes.
create or replace function tasker_seen (p_before tasker_standing[], p_after tasker_standing[])
  returns text
  language sql immutable
as $$
  select left(encode(sha256(convert_to(
           string_agg(concat_ws(' ', coalesce(e.step_no::text, 'task'), e.from_state, e.to_state, e.effect, e.attempts, e.to_attempts, extract(epoch from e.finished_at)), ','
                      order by e.step_no)
           || (select concat_ws(' ', t.paused, t.context) from unnest(p_before) t where t.step_no is null), 'UTF8')), 'hex'), 32)
    from tasker_effects(p_before, p_after) e
   where e.effect <> 'kept' or e.step_no is null
$$;

-- source: functions/tasker_set_archive.sql 5bfb8833b18b
-- tasker_set_archive: from now on the tasks of a namespace are written to the place before they are dropped; p_namespace null: of all without a row of their own.
--   p_place  null: they are not written
--   raises   WF001 unknown namespace
create or replace function tasker_set_archive (p_namespace text, p_place text, p_actor text)
  returns void
  language plpgsql
as $$
begin
  if p_namespace is not null and not exists (select from tasker_namespace n where n.namespace = p_namespace) then
    raise exception 'there is no namespace "%"', p_namespace using errcode = 'WF001';
  end if;
  insert into tasker_archive (namespace, place, set_by, set_at)
  values (p_namespace, p_place, p_actor, tasker_clock())
  on conflict (namespace) do update set place = excluded.place, set_by = excluded.set_by, set_at = excluded.set_at;
end
$$;

-- source: functions/tasker_set_default_retention.sql 1f3e866a1d51
-- tasker_set_default_retention: what every namespace follows that has no retention of its own; null: tasks are kept for ever.
create or replace function tasker_set_default_retention (p_retention interval, p_actor text)
  returns void
  language sql
as $$
  insert into tasker_retention_default (retention, set_by, set_at)
  values (p_retention, p_actor, tasker_clock())
  on conflict (only_row) do update set retention = excluded.retention, set_by = excluded.set_by, set_at = excluded.set_at
$$;

-- source: functions/tasker_set_limit.sql 028704ff0158
-- tasker_set_limit: an operator changes how much may go on at once or begin within the period; it holds, whatever versions come, until tasker_reset_limit.
--   p_step_name  empty for the limit on the workflow's tasks     p_at_once, p_per_period  null: any number; 0: nothing begins
--   p_seen  what tasker_limit_seen said when it was looked at; null: whatever it is now
--   moves  none; what has its place keeps it     locks  the limit, then its lines in order
--   raises WF001 when the workflow declares no such limit, WF006 when it is not as it was seen     events none
create or replace function tasker_set_limit (
  p_namespace text, p_name text, p_step_name text, p_at_once int, p_per_period int, p_actor text, p_reason text default null, p_seen text default null
)
  returns void
  language plpgsql
as $$
declare
  v_limit tasker_limit;
begin
  select l.* into v_limit from tasker_limit l where l.namespace = p_namespace and l.name = p_name and l.step_name = p_step_name for update;
  if not found then
    raise exception '%/% declares no limit%', p_namespace, p_name, case when p_step_name = '' then ' on its tasks' else format(' on step "%s"', p_step_name) end
      using errcode = 'WF001', hint = 'give the workflow or the step the option limit; its numbers can then be changed here';
  end if;
  if p_seen <> tasker_limit_seen(v_limit) then
    raise exception 'the limit was changed since you looked, and nothing was done; look again' using errcode = 'WF006';
  end if;
  update tasker_limit l set at_once = p_at_once, per_period = p_per_period, changed_by = p_actor, changed_at = tasker_clock(), change_reason = p_reason
   where l.limit_id = v_limit.limit_id;
  perform tasker_look_again(v_limit.limit_id);
end
$$;

-- source: functions/tasker_set_password.sql 005ba96129b5
-- tasker_set_password: an account has another password, and is signed out everywhere.
--   locks  the account     raises WF001     audit tasker.account:update
create or replace function tasker_set_password (p_name text, p_password_hash text, p_actor text, p_address text)
  returns void
  language plpgsql
as $$
declare
  v_account_id int := tasker_account_no(p_name);
begin
  update tasker_account a set password_hash = p_password_hash where a.account_id = v_account_id;
  perform tasker_end_sessions(v_account_id);
  perform tasker_audit_note(p_actor, 'tasker.account:update', 'done', null, 'account ' || p_name, null, p_address, '{"changed": "password"}');
end
$$;

-- source: functions/tasker_set_retention.sql 02bc6620c60a
-- tasker_set_retention: from now on a namespace keeps its tasks for so long after their end; null: for ever.
--   raises WF001 unknown namespace
create or replace function tasker_set_retention (p_namespace text, p_retention interval, p_actor text)
  returns void
  language plpgsql
as $$
begin
  update tasker_namespace n
     set retention = p_retention, retention_set_by = p_actor, retention_set_at = tasker_clock()
   where n.namespace = p_namespace;
  if not found then
    raise exception 'there is no namespace "%"', p_namespace using errcode = 'WF001';
  end if;
end
$$;

-- source: functions/tasker_set_second_factor.sql e7e8c42dbac6
-- tasker_set_second_factor: an account signs in with a second factor from now on, or without one when the secret is null.
--   locks  the account     raises WF001     audit tasker.account:update
create or replace function tasker_set_second_factor (p_name text, p_secret text, p_actor text, p_address text)
  returns void
  language plpgsql
as $$
begin
  update tasker_account a set totp_secret = p_secret, totp_last = 0 where a.account_id = tasker_account_no(p_name);
  perform tasker_audit_note(p_actor, 'tasker.account:update', 'done', null, 'account ' || p_name, null, p_address,
                            jsonb_build_object('changed', case when p_secret is null then 'second factor off' else 'second factor on' end));
end
$$;

-- source: functions/tasker_set_zone.sql d8498a34e847
-- tasker_set_zone: times are shown to an account in that zone; null: in the browser's.
--   moves, events  none     raises  WF001 unknown account
create or replace function tasker_set_zone (p_account_id int, p_zone text)
  returns void
  language plpgsql
as $$
begin
  update tasker_account a set zone = p_zone where a.account_id = p_account_id;
  if not found then
    raise exception 'there is no such account' using errcode = 'WF001';
  end if;
end
$$;

-- source: functions/tasker_sign_out.sql 4d62fea7b016
-- tasker_sign_out: an account is signed out everywhere, but for the session that is named to stay; returns how many sessions that were.
--   audit sign_out, once
create or replace function tasker_sign_out (p_name text, p_but_hash bytea, p_actor text, p_reason text, p_address text)
  returns int
  language plpgsql
as $$
declare
  v_account_id int := tasker_account_no(p_name);
  v_count int := (select count(*) from tasker_session s where s.account_id = v_account_id and not s.half and s.session_hash is distinct from p_but_hash);
begin
  perform tasker_end_sessions(v_account_id, p_but_hash);
  perform tasker_audit_note(p_actor, 'sign_out', 'done', null, 'account ' || p_name, p_reason, p_address, jsonb_build_object('sessions', v_count));
  return v_count;
end
$$;

-- source: functions/tasker_skip_step.sql da2ae92b2509
-- tasker_skip_step: an operator goes on without a step; after a decision that is skipped all its children go on.
--   moves  ready, retrying, failed -> skipped; a pending step is marked and becomes skipped when its parents are done, so nothing overtakes them
--   locks  as tasker_take_step, then the task
--   raises WF001 unknown task or step, WF002 when it is running or has ended otherwise, or the task was cancelled     events step.skipped
create or replace function tasker_skip_step (p_task_id uuid, p_step_name text, p_actor text, p_reason text)
  returns text
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_step tasker_step;
begin
  v_step := tasker_take_step(v_task_no, tasker_step_no(v_task_no, p_step_name));
  if v_step.state not in (0, 1, 3, 5) then
    raise exception 'the step is %, it cannot be skipped', tasker_state_name(v_step.state) using errcode = 'WF002';
  end if;
  perform tasker_refuse_cancelled(v_task_no);
  if v_step.state <> 0 then
    return tasker_satisfy_step(v_step, 7::smallint, null, p_actor, p_reason);
  end if;
  update tasker_step s set bypass = true where s.task_no = v_task_no and s.step_no = v_step.step_no;
  insert into tasker_history (task_no, step_no, at, from_state, to_state, actor, reason, detail)
  values (v_task_no, v_step.step_no, tasker_clock(), 0, 0, p_actor, p_reason, '{"bypass": true}');
  perform pg_notify('tasker_news', '');
  return 'pending';
end
$$;

-- source: functions/tasker_stand.sql f791d7c9dfa5
-- tasker_stand: how each step of a task stands, by number, and last the task itself.
--   returns the same steps in the same order before and after an operator's action: none makes or removes one
create or replace function tasker_stand (p_task_no bigint)
  returns tasker_standing[]
  language sql stable
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
  select array_agg(row(s.step_no, s.map_no, s.item_no, s.state, s.attempts, s.finished_at, s.paused, s.cancel_requested, s.bypass,
                       -- once something is lost, every step that can still move is counted
                       s.state = 0 and not s.counted and t.failed_count + t.cancelled_count > 0,
                       coalesce(s.map_no is null or s.step_no between m.first_item and m.first_item + m.item_count - 1, false), null)::tasker_standing order by s.step_no)
         || (select row(null, null, null, k.state, null, k.finished_at, k.paused, k.cancel_requested_at is not null, false, false, true, k.context)::tasker_standing
               from tasker_task k where k.task_no = p_task_no)
    from tasker_step s
   cross join (select k.failed_count, k.cancelled_count from tasker_task k where k.task_no = p_task_no offset 0) t
    left join tasker_step m on m.task_no = p_task_no and m.first_item is not null and m.step_no = s.map_no
   where s.task_no = p_task_no
$$;

-- source: functions/tasker_state_code.sql e78ea86caa6a
-- tasker_state_code: the number for a state's word; null for a word that is no state.
create or replace function tasker_state_code (p_state text)
  returns smallint
  language sql immutable strict parallel safe
as $$
  select (array_position(array['pending', 'ready', 'running', 'retrying', 'completed', 'failed', 'cancelled', 'skipped', 'resolved'], p_state) - 1)::smallint
$$;

-- source: functions/tasker_state_name.sql 7295d5fe5a40
-- tasker_state_name: the word for a state's number.
create or replace function tasker_state_name (p_state smallint)
  returns text
  language sql immutable strict parallel safe
as $$
  select (array['pending', 'ready', 'running', 'retrying', 'completed', 'failed', 'cancelled', 'skipped', 'resolved'])[p_state + 1]
$$;

-- source: functions/tasker_step_bins.sql 1f5fc5ab07db
-- tasker_step_bins: how long steps waited in the queue (state 2) and how long their completed attempts took (state 4), as counts by the number of their bin.
--   p_definitions, p_step_nos  the steps, in pairs; step -1 is all steps of the definition together     p_grains, p_froms, p_tos  as tasker_task_figures
create or replace function tasker_step_bins (p_definitions int[], p_step_nos int[], p_grains int[], p_froms timestamptz[], p_tos timestamptz[])
  returns table (definition_id int, step_no int, state smallint, number int, count bigint)
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: what is asked for is a small part of the table
as $$
#variable_conflict use_column
begin
  return query
  select d.definition_id, d.step_no, r.state, bin.number::int, sum(bin.count)::bigint
    from unnest(p_definitions, p_step_nos) as d (definition_id, step_no)
   cross join unnest(p_grains, p_froms, p_tos) as span (grain, from_at, to_at)
   cross join (values (2), (4)) as state (no)
   cross join lateral (
     select k.state, k.bins from tasker_step_rollup k
      where k.definition_id = d.definition_id and k.grain = span.grain and k.state = state.no and k.step_no = d.step_no
        and k.begins_at >= span.from_at and k.begins_at < span.to_at offset 0) r
   cross join lateral unnest(r.bins) with ordinality as bin (count, number)
   where bin.count > 0
   group by 1, 2, 3, 4;
end
$$;

-- source: functions/tasker_step_figures.sql 26fd26d9cc32
-- tasker_step_figures: what steps moved into, of the states from running to cancelled, in the given spans of the roll-ups, and how long the state before had lasted.
--   p_definitions, p_step_nos  the steps, in pairs; step -1 is all steps of the definition together     p_grains, p_froms, p_tos  as tasker_task_figures
create or replace function tasker_step_figures (p_definitions int[], p_step_nos int[], p_grains int[], p_froms timestamptz[], p_tos timestamptz[])
  returns table (definition_id int, step_no int, state smallint, net_count bigint, move_count bigint, timed_count bigint, took interval, longest interval,
                 timeout_count bigint, crash_count bigint)
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: what is asked for is a small part of the table
as $$
#variable_conflict use_column
begin
  return query
  select d.definition_id, d.step_no, r.state, sum(r.move_count - r.undone_count)::bigint, sum(r.move_count)::bigint, sum(r.timed_count)::bigint, sum(r.took),
         max(r.longest), sum(r.timeout_count)::bigint, sum(r.crash_count)::bigint
    from unnest(p_definitions, p_step_nos) as d (definition_id, step_no)
   cross join unnest(p_grains, p_froms, p_tos) as span (grain, from_at, to_at)
   cross join generate_series(2, 6) as state (no)
   cross join lateral (
     select k.state, k.move_count, k.undone_count, k.timed_count, k.took, k.longest, k.timeout_count, k.crash_count
       from tasker_step_rollup k
      where k.definition_id = d.definition_id and k.grain = span.grain and k.state = state.no and k.step_no = d.step_no
        and k.begins_at >= span.from_at and k.begins_at < span.to_at offset 0) r
   group by 1, 2, 3;
end
$$;

-- source: functions/tasker_step_id.sql d0ba487b5557
-- tasker_step_id: one number for a step, made of its task's number and its own (from -524,288, an item of a map step, up to 524,287).
--   tasker_step_place is the way back
create or replace function tasker_step_id (p_task_no bigint, p_step_no int)
  returns bigint
  language sql immutable strict parallel safe
as $$
  select p_task_no * 1048576 + p_step_no
$$;

-- source: functions/tasker_step_name.sql 7f4295b69e59
-- tasker_step_name: what a step is called: its template's name, and for an item of a map step also its place in the list: charge[3].
create or replace function tasker_step_name (p_name text, p_item_no int)
  returns text
  language sql immutable parallel safe
as $$
  select case when p_item_no is null then p_name else p_name || '[' || p_item_no || ']' end
$$;

-- source: functions/tasker_step_no.sql dc51e8ec92c6
-- tasker_step_no: the number of a named step in a task; charge[3] is the fourth item of the map step charge.
--   raises WF001 when the task has no such step
create or replace function tasker_step_no (p_task_no bigint, p_step_name text)
  returns int
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_item_no int := substring(p_step_name from '\[([0-9]{1,6})\]$')::int;
  v_step_no int;
begin
  select case when v_item_no is null then p.step_no
              else (select s.first_item + v_item_no from tasker_step s where s.task_no = p_task_no and s.step_no = p.step_no and v_item_no < s.item_count) end
    into v_step_no
    from tasker_task t join tasker_template p using (definition_id)
   where t.task_no = p_task_no and tasker_step_name(p.name, v_item_no) = p_step_name
     and p.name = regexp_replace(p_step_name, '\[[0-9]{1,6}\]$', '');
  if v_step_no is null then
    raise exception 'the task has no step "%"', p_step_name using errcode = 'WF001';
  end if;
  return v_step_no;
end
$$;

-- source: functions/tasker_step_place.sql 691030740a13
-- tasker_step_place: the task's number and the step's number that a step id is made of.
create or replace function tasker_step_place (p_step_id bigint, out task_no bigint, out step_no int)
  language sql immutable strict parallel safe
as $$
  select (p_step_id + 524288) >> 20, (((p_step_id + 524288) & 1048575) - 524288)::int
$$;

-- source: functions/tasker_step_readiness.sql bc1d5f6c1561
-- tasker_step_readiness: every step of a task with what it waits for, in words.
--   returns one row per step in order, items before their map step, which they are parents of; waiting_for is empty once a step has ended     raises WF001 unknown task
create or replace function tasker_step_readiness (p_task_id uuid)
  returns table (step_id bigint, step_name text, state text, total_parents int, satisfied_parents int, attempts smallint, retry_limit smallint,
                 next_retry_at timestamptz, waiting_for text)
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
  set enable_nestloop = off  -- and its steps, which are joined to each other here, are thousands at times: no plan can know
  set jit = off              -- where a forbidden plan has a price, it is one that would be compiled for
as $$
#variable_conflict use_column
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_definition_id int := (select k.definition_id from tasker_task k where k.task_no = v_task_no);
begin
  return query
  with recursive step as materialized (
    select s.step_no, s.definition_id, s.state, s.pending, s.attempts, s.retry_limit, s.children, s.bypass, s.cancel_requested, s.worker_id, s.map_no, s.gated, s.first_item, s.item_count,
           tasker_step_name(p.name, s.item_no) as name, p.parents
      from tasker_step s join tasker_template p on p.definition_id = v_definition_id and p.step_no = coalesce(s.map_no, s.step_no)
     where s.task_no = v_task_no
  ),
  blocked (step_no, failed_no) as (
    select c.step_no, s.step_no from step s, unnest(s.children) as c (step_no) where s.state = 5
    union
    select c.step_no, b.failed_no
      from blocked b
     cross join lateral (select k.children from tasker_step k where k.task_no = v_task_no and k.step_no = b.step_no and k.state = 0 offset 0) s,
           unnest(s.children) as c (step_no)
  ),
  blocker as (
    select f.step_no, array_to_string(f.names[1:3], ', ') || case when cardinality(f.names) > 3 then ' and ' || cardinality(f.names) - 3 || ' more' else '' end as names
      from (select b.step_no, array_agg(f.name order by f.step_no) as names from blocked b join step f on f.step_no = b.failed_no group by 1) f
  ),
  parent as (
    select x.step_no, count(*) filter (where o.state in (4, 7, 8))::int as satisfied,
           (array_agg(o.name order by o.step_no) filter (where o.state not in (4, 7, 8)))[1:3] as open_names,
           count(*) filter (where o.state not in (4, 7, 8)) as open_count
      -- apart, or a plan may look through all steps for the parents of each
      from (select s.step_no, unnest(s.parents) as parent_no from step s offset 0) x join step o on o.step_no = x.parent_no group by 1
  ),
  item as (
    -- those that it waits for now; what it made before it was run again is on record, and no longer among them
    select m.step_no, count(*)::int as total, count(*) filter (where s.state in (4, 7, 8))::int as satisfied
      from step s join step m on m.step_no = s.map_no where s.step_no between m.first_item and m.first_item + m.item_count - 1 group by 1
  ),
  gate as materialized (   -- apart, or it may be asked of every step
    select s.step_no, tasker_gate_reason(v_task_no, s.step_no) as reason from step s where s.state = 1 and s.gated
  ),
  served as (
    select distinct unnest(w.definitions) as definition_id from tasker_worker w where w.lease_until > tasker_clock() and not w.draining
  )
  select tasker_step_id(v_task_no, s.step_no), s.name, tasker_state_name(s.state), cardinality(s.parents) + coalesce(item.total, 0), coalesce(parent.satisfied, 0) + coalesce(item.satisfied, 0),
         s.attempts, s.retry_limit, case when s.state = 3 then d.run_at end,
         case
           when s.state in (4, 5, 6, 7, 8) then ''
           when s.state = 0 and t.finished_at is not null then 'a retry of ' || coalesce(blocker.names, 'a failed step')
           when s.state = 0 and blocker.names is not null then 'blocked: ' || blocker.names || ' failed; retry, skip or resolve it'
           when s.state = 0 and d.run_at is not null then 'its start at ' || to_char(d.run_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC'
           when s.state = 0 and item.satisfied < item.total then item.total - item.satisfied || ' of its ' || item.total || ' items'
           when s.state = 0 and parent.open_names is null then 'tasker_resolve_dependencies: its parents were completed by hand'
           when s.state = 0 then array_to_string(parent.open_names, ', ')
             || case when parent.open_count > 3 then ' and ' || parent.open_count - 3 || ' more' else '' end
           when s.state = 3 then 'attempt ' || s.attempts + 1 || ' of ' || s.retry_limit || ' at '
             || to_char(d.run_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC'
           when s.state = 1 and t.paused then 'the task to be resumed: it is paused'
           when s.state = 1 and gate.reason is not null then gate.reason
           when s.state = 1 and served.definition_id is null then 'an engine that has its handler; none is running now'
           when s.state = 1 then 'a free place in an engine'
           when s.cancel_requested then 'its handler to stop: cancellation was requested'
           else 'its handler, attempt ' || s.attempts || ' of ' || s.retry_limit
         end
    from step s
    join tasker_task t on t.task_no = v_task_no
    left join parent on parent.step_no = s.step_no
    left join item on item.step_no = s.step_no
    left join blocker on blocker.step_no = s.step_no
    left join tasker_delayed d on d.task_no = v_task_no and d.step_no = s.step_no
    left join served on served.definition_id = s.definition_id
    left join gate on gate.step_no = s.step_no
   order by s.step_no;
end
$$;

-- source: functions/tasker_steps_in_hand.sql f47716d48008
-- tasker_steps_in_hand: those of the tasks in which somebody is acting on a step at this moment. All their other steps that could move are held.
--   locks  the steps of these tasks that could still move and their step 0, which whoever acts on a whole task holds, as far as they are free;
--          nobody is waited for
create or replace function tasker_steps_in_hand (p_task_nos bigint[])
  returns bigint[]
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: these few tasks are a small part of the tables
as $$
declare
  v_movable bigint;
  v_in_hand bigint[] := '{}';
  v_free int;
  v_count int;
begin
  for v_movable, v_count in
    select s.task_no, count(*) from tasker_step s
     where s.task_no = any(p_task_nos) and (s.state in (0, 1, 2, 3, 5) or s.step_no = 0) group by s.task_no order by s.task_no
  loop
    select count(*) into v_free
      from (select from tasker_step s where s.task_no = v_movable and (s.state in (0, 1, 2, 3, 5) or s.step_no = 0) for update skip locked) free;
    if v_free < v_count then
      v_in_hand := v_in_hand || v_movable;
    end if;
  end loop;
  return v_in_hand;
end
$$;

-- source: functions/tasker_stop_batch.sql dd41eac08199
-- tasker_stop_batch: what of a batch is not done yet will not be.
--   moves, events  none     locks  the batch     raises  WF001 unknown batch, WF002 when it has ended
create or replace function tasker_stop_batch (p_batch_id bigint, p_actor text)
  returns void
  language plpgsql
as $$
begin
  update tasker_batch b set finished_at = tasker_clock(), stopped_by = p_actor where b.batch_id = p_batch_id and b.finished_at is null;
  if found then
    return;
  end if;
  if exists (select from tasker_batch b where b.batch_id = p_batch_id) then
    raise exception 'the batch has ended' using errcode = 'WF002';
  end if;
  raise exception 'there is no batch %', p_batch_id using errcode = 'WF001';
end
$$;

-- source: functions/tasker_submit_tasks.sql de53f1496437
-- tasker_submit_tasks: makes tasks, commits, and then wakes idle engines: what tasker_create_tasks does within somebody's transaction, in one round trip.
--   To be called outside a transaction. NOTIFY lets one transaction of the whole server commit at a time, so it has one of its own, which writes nothing.
--   A request that comes alone is served by tasker_create_plain_task if it can be: somebody waits for it.
--   p_requests  as of tasker_create_tasks
--   returns the ids in the order of the requests, and whether each task is new
--   moves, locks, events, raises  as tasker_create_tasks; 54000 where the server's queue of notifications is full, and then the tasks are on record
create or replace procedure tasker_submit_tasks (p_requests jsonb, out p_task_ids uuid[], out p_created boolean[])
  language plpgsql
as $$
begin
  if jsonb_array_length(p_requests) = 1 then
    p_task_ids := array [tasker_create_plain_task(p_requests -> 0)];
    p_created := '{t}';
  end if;
  if p_task_ids[1] is null then
    select array_agg(t.task_id order by t.place), array_agg(t.created order by t.place) into p_task_ids, p_created
      from tasker_create_tasks(p_requests, false) t;
  end if;
  commit;
  perform pg_notify('tasker_ready', '');
end
$$;

-- source: functions/tasker_subscribe.sql a3dca1558cd5
-- tasker_subscribe: a subscriber has its place in the events: where it was, or, when it is new, now or before the first that is still on record.
--   moves, events  none     locks  none
--   Below what the roll-ups have counted nothing is yet to appear; what is not counted yet may have an event of a transaction under way before the first
--   that is seen, and is read from its beginning. Retention waits for the roll-ups, so nothing that it dropped is among that.
create or replace function tasker_subscribe (p_name text, p_from_start boolean)
  returns void
  language sql
as $$
  insert into tasker_subscription (name, event_id, created_at)
  select p_name, case when p_from_start then tasker_next_event(0, 2 * coalesce((select p.counted_to from tasker_rollup_place p), 0) + 1) else h.event_id end,
         tasker_clock() from tasker_event_horizon() h
  on conflict (name) do nothing
$$;

-- source: functions/tasker_sweep_places.sql e0c5b7ad4f00
-- tasker_sweep_places: lines before limits are looked at of which a place is no longer held, whoever let it go: a dead engine, an operator; and
--   lines that nobody needs any more are gone. Engines call it now and then.
--   returns how many lines are to be looked at     locks  lines; those that others hold are skipped
create or replace function tasker_sweep_places ()
  returns int
  language plpgsql
  set enable_seqscan = off
as $$
declare
  v_now timestamptz := tasker_clock();
  v_lines int;
  v_idle record;
  v_limit tasker_limit;
begin
  if not exists (select from tasker_line) then
    return 0;
  end if;
  with let_go as materialized (
    select distinct h.limit_id, h.key
      from tasker_place h join tasker_limit l using (limit_id)
      left join lateral (select k.finished_at from tasker_task k where k.task_no = h.task_no offset 0) t on true
      left join lateral (select k.state, k.attempts, k.paused from tasker_step k where k.task_no = h.task_no and k.step_no = h.step_no and l.step_name <> '' offset 0) s on true
     where not h.ended
       and not case when l.step_name = '' then coalesce(t.finished_at is null and exists (select from tasker_task k where k.task_no = h.task_no), false)
                    else coalesce(s.state = 2 and s.attempts = h.attempt or s.state = 1 and s.attempts = h.attempt - 1 and not s.paused, false) end
  ),
  passed_by as materialized (
    -- a line that came into being while its limit was being raised was looked at by the number of before, and by nobody since
    select n.limit_id, n.key from tasker_line n join tasker_limit l using (limit_id)
     where n.due_at = 'infinity' and exists (select from tasker_waiting w where w.limit_id = n.limit_id and w.key = n.key) and tasker_free_count(l, n.key) > 0
  ),
  line as materialized (
    select n.limit_id, n.key from tasker_line n
     where n.due_at > v_now and ((n.limit_id, n.key) in (select g.limit_id, g.key from let_go g) or (n.limit_id, n.key) in (select b.limit_id, b.key from passed_by b))
       for update skip locked
  )
  update tasker_line n set due_at = v_now from line where n.limit_id = line.limit_id and n.key = line.key;
  get diagnostics v_lines = row_count;
  for v_idle in
    select n.limit_id, n.key from tasker_line n
     where not exists (select from tasker_waiting w where w.limit_id = n.limit_id and w.key = n.key)
       and (n.due_at <= v_now or not exists (select from tasker_place h where h.limit_id = n.limit_id and h.key = n.key))
     order by n.limit_id, n.key limit 1000 for update skip locked
  loop
    select l.* into v_limit from tasker_limit l where l.limit_id = v_idle.limit_id;
    perform tasker_look_at_places(v_limit, v_idle.key);
    -- by a statement of its own, now that the line is ours: who has come meanwhile is seen, who comes later waits for us
    delete from tasker_line n
     where n.limit_id = v_idle.limit_id and n.key = v_idle.key
       and not exists (select from tasker_place h where h.limit_id = n.limit_id and h.key = n.key)
       and not exists (select from tasker_waiting w where w.limit_id = n.limit_id and w.key = n.key);
    -- who has come since our list was made waits for what was just seen to be let go
    update tasker_line n set due_at = v_now
     where n.limit_id = v_idle.limit_id and n.key = v_idle.key and n.due_at > v_now
       and exists (select from tasker_waiting w where w.limit_id = n.limit_id and w.key = n.key);
  end loop;
  return v_lines;
end
$$;

-- source: functions/tasker_take_deliveries.sql 434bdf8f0d29
-- tasker_take_deliveries: what has come of a sender's deliveries, told again and again until the sender says that it was told, by p_told.
--   returns kind and payload of what has ended; a kind of null for what was begun by someone who is not heard of any more
create or replace function tasker_take_deliveries (p_sender uuid, p_told bigint[] default '{}')
  returns table (number bigint, kind smallint, payload text, place text)
  language sql
as $$
  with told as (
    delete from tasker_delivery d where d.sender = p_sender and d.number = any(p_told)
  )
  select d.number, d.kind, d.payload, d.place
    from tasker_delivery d
   where d.sender = p_sender and (d.kind is not null or d.lease_until <= tasker_clock()) and d.number <> all(p_told)
$$;

-- source: functions/tasker_take_delivery_words.sql 0fda4e9931a4
-- tasker_take_delivery_words: what the handlers of a sender's deliveries have said since, in its order.
create or replace function tasker_take_delivery_words (p_sender uuid)
  returns table (number bigint, age float8, is_line boolean, fields jsonb)
  language sql
as $$
  with taken as (
    delete from tasker_delivery_word d where d.sender = p_sender returning d.word_no, d.number, d.said_at, d.is_line, d.fields
  )
  select t.number, extract(epoch from tasker_clock() - t.said_at)::float8, t.is_line, t.fields from taken t order by t.word_no
$$;

-- source: functions/tasker_take_notices.sql 86fb6a397f77
-- tasker_take_notices: notices whose time has come, one attempt each; should its engine die, the next attempt comes after the rest that is set here.
--   Rests 10 s after the first attempt, twice as long after each further one, an hour at most. One of a view waits for the earlier ones to the same place.
--   moves, events  none     locks  the notices
create or replace function tasker_take_notices (p_limit int)
  returns table (notice_id bigint, attempt int, channel text, target text, secret text, facts jsonb)
  language plpgsql
as $$
begin
  return query
  with due as (
    select n.notice_id from tasker_notice n
     where n.delivered_at is null and n.given_up_at is null and n.due_at <= tasker_clock()
       and not exists (select from tasker_notice e
                        where e.view_id = n.view_id and e.notice_id < n.notice_id and e.channel = n.channel and e.target = n.target
                          and e.delivered_at is null and e.given_up_at is null)
     order by n.due_at limit p_limit for update skip locked
  )
  update tasker_notice n
     set attempts = n.attempts + 1, due_at = tasker_clock() + least(interval '10 seconds' * 2 ^ least(n.attempts, 20), interval '1 hour')
    from due where n.notice_id = due.notice_id
  returning n.notice_id, n.attempts, n.channel, n.target, n.secret, n.facts;
end
$$;

-- source: functions/tasker_take_old_tasks.sql 2dcd9e7a0a46
-- tasker_take_old_tasks: those of a batch of a definition's tasks that may be dropped now; nobody else can act on them until the transaction ends.
--   p_after, p_limit, p_hold  as tasker_old_tasks has them; but the batch ends with the task by which it has as many steps, their items included, as
--          p_limit tasks have without items: a statement that deletes millions of them would never be in time
--   locks  the tasks, then their steps as tasker_steps_in_hand. Nobody is waited for: what another engine is dropping and what an
--          operator is acting on is passed by, so the order of locks does not matter here
--   returns looked_to  the last task that was looked at; null: there are no more. Then the tasks that are held
create or replace function tasker_take_old_tasks (p_definition int, p_after bigint, p_limit int, p_hold interval)
  returns table (looked_to bigint, task_nos bigint[])
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: these few tasks are a small part of the tables
as $$
#variable_conflict use_column
declare
  v_begin timestamptz := tasker_retention_begin(p_definition);
  v_steps int := (select d.step_count from tasker_definition d where d.definition_id = p_definition);
  v_more boolean;
  v_old bigint[];
  v_in_hand bigint[];
begin
  with looked_at as (
    select o.task_no, o.kept_for is null as may_go,
           coalesce(sum(v_steps + o.item_count) filter (where o.kept_for is null) over (order by o.task_no rows between unbounded preceding and 1 preceding), 0) as steps_before
      from (select k.task_no, k.kept_for, (select t.item_count from tasker_task t where t.task_no = k.task_no) as item_count
              from tasker_old_tasks(p_definition, p_after, p_limit, p_hold) k) o
  ), batch as (
    select l.task_no, l.may_go from looked_at l where l.steps_before < p_limit::bigint * v_steps
  )
  select max(b.task_no), coalesce(array_agg(b.task_no) filter (where b.may_go), '{}'), count(*) = p_limit or count(*) < (select count(*) from looked_at)
    into looked_to, v_old, v_more from batch b;
  if not v_more then
    looked_to := null;
  end if;
  select array_agg(k.task_no) into task_nos
    from (select t.task_no from tasker_task t
           where t.task_no = any(v_old) and case when t.finished_at < v_begin then true end order by t.task_no for update skip locked) k;
  v_in_hand := tasker_steps_in_hand(task_nos);
  select coalesce(array_agg(k.task_no), '{}') into task_nos
    from unnest(task_nos) as k (task_no) where not (k.task_no = any(v_in_hand));
  return next;
end
$$;

-- source: functions/tasker_take_place.sql 5a69860640a1
-- tasker_take_place: one step passes a limit. From the limit of its workflow it goes on to its own, if it has one, else into its lane of the queue.
--   returns how many places that took: none when its task has one already     locks  nothing: the caller holds the line and the queue row
create or replace function tasker_take_place (p_limit tasker_limit, p_key text, p_task_no bigint, p_step_no int, p_rank timestamptz, p_lane int)
  returns int
  language plpgsql
as $$
declare
  v_step tasker_step;
  v_taken int;
  v_has_own boolean;
begin
  select s.* into v_step from tasker_step s where s.task_no = p_task_no and s.step_no = p_step_no;
  v_has_own := p_limit.step_name = '' and exists (
    select from tasker_template p join tasker_limit l on l.namespace = p_limit.namespace and l.name = p_limit.name and l.step_name = p.name
     where p.definition_id = v_step.definition_id and p.step_no = p_step_no);
  insert into tasker_place (limit_id, key, task_no, step_no, attempt)
  values (p_limit.limit_id, p_key, p_task_no, case when p_limit.step_name = '' then 0 else p_step_no end, case when p_limit.step_name = '' then 0 else v_step.attempts + 1 end)
  -- one that was let go, but still counts within the period, is taken anew
  on conflict (limit_id, key, task_no, step_no, attempt) do update set ended = false, started_at = null where tasker_place.ended;
  get diagnostics v_taken = row_count;
  update tasker_ready r set rank = p_rank, definition_id = case when v_has_own then -v_step.definition_id else p_lane end
   where r.task_no = p_task_no and r.step_no = p_step_no;
  return v_taken;
end
$$;

-- source: functions/tasker_take_step.sql 464f3c758417
-- tasker_take_step: an operator's action takes hold of a step and of all that can move with it.
--   returns the step as it is now     locks  as tasker_hold_tasks     moves  none; the caller decides
--   raises WF001 when the task was dropped in this moment
create or replace function tasker_take_step (p_task_no bigint, p_step_no int)
  returns tasker_step
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_step tasker_step;
begin
  perform tasker_hold_tasks(array[p_task_no]);
  select s.* into v_step from tasker_step s where s.task_no = p_task_no and s.step_no = p_step_no for update;
  if not found then
    raise exception 'there is no such step any more' using errcode = 'WF001';
  end if;
  return v_step;
end
$$;

-- source: functions/tasker_take_subscription.sql c897c7eacfe5
-- tasker_take_subscription: one engine at a time delivers to a subscriber.
--   The owner's lease is renewed once a third of it is over; another engine takes over when it has run out, under a new fence.
--   returns the subscriber's place, how its next event was refused so far and for how long, and whether it may be tried now; no row while another
--           engine owns it
create or replace function tasker_take_subscription (p_name text, p_owner uuid, p_lease interval)
  returns table (fence bigint, event_id bigint, attempts int, failures int, refused_for interval, due boolean)
  language plpgsql
as $$
#variable_conflict use_column
declare
  v_now timestamptz := tasker_clock();
begin
  update tasker_subscription s
     set fence = s.fence + (s.owner is distinct from p_owner)::int, owner = p_owner, lease_until = v_now + p_lease
   where s.name = p_name
     and case when s.owner = p_owner then s.lease_until < v_now + p_lease * 2 / 3 else s.owner is null or s.lease_until < v_now end;
  return query
  select s.fence, s.event_id, s.attempts, s.failures, coalesce(v_now - s.first_refused_at, interval '0'), s.next_try_at is null or s.next_try_at <= v_now
    from tasker_subscription s where s.name = p_name and s.owner = p_owner;
end
$$;

-- source: functions/tasker_take_views.sql 82ba464671ee
-- tasker_take_views: watched views that were not counted for so long, the longest waiting first; whoever gets one counts it, and nobody else does meanwhile.
--   moves, events  none     locks  the views
create or replace function tasker_take_views (p_limit int, p_every interval)
  returns table (view_id bigint, owner_id int, namespace text, parameters jsonb, grants jsonb, kind text)
  language plpgsql
as $$
begin
  return query
  with due as (
    select v.view_id from tasker_view v
     where v.threshold is not null and coalesce(v.counted_at, '-infinity') <= tasker_clock() - p_every
     order by v.counted_at nulls first limit p_limit for update skip locked
  )
  update tasker_view v set counted_at = tasker_clock() from due where v.view_id = due.view_id
  returning v.view_id, v.owner_id, v.namespace, v.parameters, tasker_owner_grants(v.owner_id), v.kind;
end
$$;

-- source: functions/tasker_task_bins.sql b54003872810
-- tasker_task_bins: how long the completed tasks of these definitions ran, as counts by the number of their bin; else as tasker_task_figures.
create or replace function tasker_task_bins (p_definitions int[], p_grains int[], p_froms timestamptz[], p_tos timestamptz[], p_slot interval)
  returns table (definition_id int, slot timestamptz, number int, count bigint)
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: what is asked for is a small part of the table
as $$
#variable_conflict use_column
begin
  return query
  select r.definition_id, r.slot, bin.number::int, sum(bin.count)::bigint
    from unnest(p_definitions) as d (definition_id)
   cross join unnest(p_grains, p_froms, p_tos) as span (grain, from_at, to_at)
   cross join lateral (
     select k.definition_id, date_bin(p_slot, k.begins_at, '2001-01-01 00:00:00Z') as slot, k.bins
       from tasker_task_rollup k
      where k.definition_id = d.definition_id and k.grain = span.grain and k.state = 4 and k.begins_at >= span.from_at and k.begins_at < span.to_at offset 0) r
   cross join lateral unnest(r.bins) with ordinality as bin (count, number)
   where bin.count > 0
   group by grouping sets ((r.slot, bin.number), (r.definition_id, bin.number));
end
$$;

-- source: functions/tasker_task_figures.sql 38c97702e15e
-- tasker_task_figures: how tasks of these definitions ended in the given spans of the roll-ups, by slot of time and by definition.
--   p_grains, p_froms, p_tos  the spans: those of this grain that begin in [from, to)     p_slot  how long a slot is, counted from 2001-01-01 UTC, a Monday
--   returns every figure twice: once with its slot and without a definition, once the other way round.
--           net_count  moves into the state that were not led out of it since     took, longest  of the timed_count of which it is known
create or replace function tasker_task_figures (p_definitions int[], p_grains int[], p_froms timestamptz[], p_tos timestamptz[], p_slot interval)
  returns table (definition_id int, slot timestamptz, state smallint, net_count bigint, timed_count bigint, took interval, longest interval)
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: what is asked for is a small part of the table
as $$
#variable_conflict use_column
begin
  return query
  select r.definition_id, r.slot, r.state, sum(r.move_count - r.undone_count)::bigint, sum(r.timed_count)::bigint, sum(r.took), max(r.longest)
    from unnest(p_definitions) as d (definition_id)
   cross join unnest(p_grains, p_froms, p_tos) as span (grain, from_at, to_at)
   cross join lateral (
     select k.definition_id, date_bin(p_slot, k.begins_at, '2001-01-01 00:00:00Z') as slot, k.state, k.move_count, k.undone_count, k.timed_count, k.took, k.longest
       from tasker_task_rollup k
      where k.definition_id = d.definition_id and k.grain = span.grain and k.begins_at >= span.from_at and k.begins_at < span.to_at offset 0) r
   group by grouping sets ((r.slot, r.state), (r.definition_id, r.state));
end
$$;

-- source: functions/tasker_task_no.sql 20eef8382272
-- tasker_task_no: the inner number of a task.
--   raises WF001 when there is no such task
create or replace function tasker_task_no (p_task_id uuid)
  returns bigint
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_no bigint;
begin
  select t.task_no into v_task_no from tasker_task t where t.task_id = p_task_id;
  if v_task_no is null then
    raise exception 'there is no task %', p_task_id using errcode = 'WF001';
  end if;
  return v_task_no;
end
$$;

-- source: functions/tasker_task_no_at.sql aa8422169279
-- tasker_task_no_at: the number of the first task made at this time or later. Numbers are given in the order of time, but for transactions that
--   are under way together; so a list can begin at a time without an index on it, a little below this number, and look closely from there.
--   returns null when every task was made before
create or replace function tasker_task_no_at (p_at timestamptz)
  returns bigint
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: it looks at a few rows by their number
as $$
declare
  v_low bigint := (select t.task_no from tasker_task t order by t.task_no limit 1);
  v_high bigint := (select t.task_no from tasker_task t order by t.task_no desc limit 1);
  v_middle bigint;
  v_first bigint;
  v_found record;
begin
  while v_low <= v_high loop
    v_middle := v_low + (v_high - v_low) / 2;
    select t.task_no, t.created_at into v_found from tasker_task t where t.task_no >= v_middle order by t.task_no limit 1;
    if v_found.created_at >= p_at then
      v_first := v_found.task_no;
      v_high := v_middle - 1;
    else
      v_low := v_found.task_no + 1;
    end if;
  end loop;
  return v_first;
end
$$;

-- source: functions/tasker_task_record.sql b03cbf86b46e
-- tasker_task_record: all that is kept about a task, as the JSON of one line of an archive; states in words, columns as the tables name them.
-- needs: tasker_state_name, tasker_level_name, tasker_step_name
--   Whole rows, so that no column that comes later is forgotten. Nothing is masked. The id comes first: by it a line is found without being read.
create or replace function tasker_task_record (p_task_no bigint)
  returns text
  language sql stable
  set enable_seqscan = off   -- plans must not depend on statistics
as $$
  select json_build_object(
           'task_id', t.task_id,
           'namespace', d.namespace, 'name', d.name, 'version', d.version, 'state', tasker_state_name(t.state), 'finished_at', t.finished_at,
           'task', to_jsonb(t) - 'state',
           'idempotency_key', (select k.key from tasker_request_key k where k.task_id = t.task_id),
           'steps', (select coalesce(json_agg(to_jsonb(s) - 'state' - 'task_no' || jsonb_build_object('name', tasker_step_name(p.name, s.item_no), 'state', tasker_state_name(s.state))
                                              order by s.step_no), '[]')
                       from tasker_step s join tasker_template p on p.definition_id = s.definition_id and p.step_no = coalesce(s.map_no, s.step_no)
                      where s.task_no = t.task_no),
           'history', (select coalesce(json_agg(to_jsonb(h) - 'task_no' || jsonb_build_object('from_state', tasker_state_name(h.from_state), 'to_state', tasker_state_name(h.to_state))
                                                order by h.event_id), '[]')
                         from tasker_history h where h.task_no = t.task_no),
           'log', (select coalesce(json_agg(to_jsonb(l) - 'task_no' || jsonb_build_object('level', tasker_level_name(l.level)) order by l.line_no), '[]')
                     from tasker_log l where l.task_no = t.task_no),
           'progress', (select coalesce(json_agg(to_jsonb(g) - 'task_no' order by g.step_no), '[]') from tasker_progress g where g.task_no = t.task_no),
           'events', (select coalesce(json_agg(to_jsonb(c) - 'task_no' order by c.event_no), '[]') from tasker_custom_event c where c.task_no = t.task_no),
           'undelivered', (select coalesce(json_agg(to_jsonb(u) order by u.name, u.event_id), '[]') from tasker_undelivered u where u.event ->> 'task_id' = t.task_id::text))::text
    from tasker_task t
    join tasker_definition d using (definition_id)
   where t.task_no = p_task_no
$$;

-- source: functions/tasker_tell_follower.sql bfa11cdafc17
-- tasker_tell_follower: who followed a task that has ended is to be told, or has no right to it any more; either way it is followed no longer.
--   p_facts  null: nothing is told
--   moves, events  none     locks  the follower, so that of two engines one tells
create or replace function tasker_tell_follower (p_follower_id bigint, p_facts jsonb)
  returns void
  language plpgsql
as $$
begin
  with told as (
    delete from tasker_follower f where f.follower_id = p_follower_id returning f.task_no, f.channel, f.target
  )
  insert into tasker_notice (task_no, channel, target, facts, created_at, due_at)
  select told.task_no, told.channel, told.target, p_facts, tasker_clock(), tasker_clock() from told where p_facts is not null;
end
$$;

-- source: functions/tasker_unlock_children.sql 403983280b94
-- tasker_unlock_children: what follows when steps were satisfied outside the fast path (skipped, resolved, decided): their children have one parent less
--   to wait for.
--   p_task_nos, p_step_nos  steps that have just become skipped or resolved
--   moves  pending -> ready, or -> skipped when bypassed or when every parent was passed over, and so on down
--   locks  children by (task_no, step_no); who passes steps over holds the whole task already, so that it sees what became of every parent
--   events step.skipped
--   returns the tasks to count off, one entry per counted step that has ended: the caller's next call is tasker_count_off or tasker_recount_task
create or replace function tasker_unlock_children (p_task_nos bigint[], p_step_nos int[])
  returns bigint[]
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_now timestamptz := tasker_clock();
  v_task_nos bigint[] := p_task_nos;
  v_step_nos int[] := p_step_nos;
  v_counted bigint[] := '{}';
begin
  while v_task_nos is not null loop
    v_counted := v_counted || array(
      select p.task_no
        from unnest(v_task_nos, v_step_nos) as p (task_no, step_no)
       cross join lateral (select from tasker_step k where k.task_no = p.task_no and k.step_no = p.step_no and k.counted offset 0) s);
    with child as (
      select p.task_no, c.step_no, count(*)::int as parents_done, bool_and(s.passed_over) and tasker_is_passed_over(p.task_no, c.step_no) as passed_over
        from unnest(v_task_nos, v_step_nos) as p (task_no, step_no)
       cross join lateral (select k.children, k.passed_over from tasker_step k
                            where k.task_no = p.task_no and k.step_no = p.step_no offset 0) s,
             unnest(s.children) as c (step_no)
       group by 1, 2 having abs(count(*)) = count(*) order by 1, 2   -- see tasker_complete_batch on abs
    ),
    unlocked as (
      update tasker_step s
         set pending = s.pending - child.parents_done,
             state = case when s.pending <> child.parents_done or s.state <> 0 then s.state when s.bypass or child.passed_over then 7 else 1 end,
             passed_over = s.passed_over or s.pending = child.parents_done and s.state = 0 and child.passed_over,
             finished_at = case when s.pending = child.parents_done and s.state = 0 and (s.bypass or child.passed_over) then v_now else s.finished_at end
        from child
       where s.task_no = child.task_no and s.step_no = child.step_no
      returning s.task_no, s.step_no, s.definition_id, s.paused, s.gated, s.passed_over,
                case when s.pending = 0 and (s.state = 1 or s.state = 7 and s.finished_at = v_now) then s.state end as state   -- not one skipped before
    ),
    ready as (
      insert into tasker_ready (rank, task_no, step_no, definition_id)
      select case when u.paused then 'infinity' else v_now - (select t.priority from tasker_task t where t.task_no = u.task_no) * interval '1 minute' end,
             u.task_no, u.step_no, case when u.paused or u.gated then -u.definition_id else u.definition_id end
        from unlocked u where u.state = 1
    ),
    history as (
      insert into tasker_history (task_no, step_no, at, from_state, to_state, reason)
      select u.task_no, u.step_no, v_now, 0, 7, case when u.passed_over then 'every step before it was passed over' end from unlocked u where u.state = 7
    )
    select array_agg(u.task_no), array_agg(u.step_no) into v_task_nos, v_step_nos from unlocked u where u.state = 7;
  end loop;
  return v_counted;
end
$$;

-- source: functions/tasker_update_step_status.sql af7550ba45a4
-- tasker_update_step_status: one move of one step, by hand or by another program; compare and set.
--   It records the move only: tasker_resolve_dependencies then unlocks the children and settles the task. A task that had ended runs again with
--   the first step that is led out of failure to run again.
--   moves  pending -> ready, running when no parent is open; ready, retrying -> running; retrying -> ready; running -> completed, failed, ready,
--          retrying with its back-off; failed -> ready; pending, ready, retrying, running -> cancelled; pending, ready, retrying, failed -> skipped, resolved
--   returns true; false when the step was not in p_from_state
--   locks  as tasker_take_step, then the task
--   raises WF001 unknown step, WF002 for a move that does not exist, leads on in a cancelled task, or to another attempt than can be counted
create or replace function tasker_update_step_status (p_step_id bigint, p_from_state text, p_to_state text)
  returns boolean
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_no bigint := (tasker_step_place(p_step_id)).task_no;
  v_step_no int := (tasker_step_place(p_step_id)).step_no;
  v_now timestamptz := tasker_clock();
  v_from smallint := tasker_state_code(p_from_state);
  v_to smallint := tasker_state_code(p_to_state);
  v_run_at timestamptz;
  v_step tasker_step;
begin
  if not coalesce(tasker_move_exists(v_from, v_to), false) then
    raise exception 'a step cannot move from "%" to "%"', p_from_state, p_to_state using errcode = 'WF002';
  end if;
  if not exists (select from tasker_step s where s.task_no = v_task_no and s.step_no = v_step_no) then
    raise exception 'there is no step %', p_step_id using errcode = 'WF001';
  end if;
  v_step := tasker_take_step(v_task_no, v_step_no);
  if v_step.state <> v_from then
    return false;
  end if;
  if v_from = 0 and v_to in (1, 2) and v_step.pending > 0 then
    raise exception 'the step waits for % of its parents', v_step.pending using errcode = 'WF002';
  end if;
  if v_to in (1, 2, 3, 7, 8) then
    perform tasker_refuse_cancelled(v_task_no);
  end if;
  if v_to in (1, 2, 3) then
    perform tasker_refuse_spent(v_task_no, array[v_step_no]);
  end if;
  perform tasker_leave_queue(v_task_no, v_step_no);
  v_run_at := case when v_to = 3 then v_now + tasker_backoff(v_step.definition_id, coalesce(v_step.map_no, v_step_no), v_step.attempts, null) end;
  -- what moved by hand was not bypassed on request: its parents' end must not move it once more
  update tasker_step s
     set state = v_to, worker_id = case when v_to = 2 then 0 end, attempts = s.attempts + (v_to = 2)::int, bypass = s.bypass and v_from <> 0,
         cancel_requested = s.cancel_requested and v_from <> 2,
         started_at = case when v_to = 2 then v_now else s.started_at end,
         finished_at = case when v_to in (4, 5, 6, 7, 8) then v_now end,
         error = case when v_to not in (4, 7, 8) then s.error end,
         retry_limit = case when v_from = 5 and v_to = 1 then least(s.attempts + 1, 32767) else s.retry_limit end
   where s.task_no = v_task_no and s.step_no = v_step_no;
  insert into tasker_history (task_no, step_no, at, from_state, to_state, attempt, detail)
  values (v_task_no, v_step_no, v_now, v_from, v_to, case when v_from = 2 then v_step.attempts when v_to = 2 then v_step.attempts + 1 end,
          case when v_to = 3 then jsonb_build_object('run_at', v_run_at) end);
  if v_to = 1 then
    insert into tasker_ready (rank, task_no, step_no, definition_id)
    select case when v_step.paused then 'infinity' else v_now - t.priority * interval '1 minute' end, v_task_no, v_step_no,
           case when v_step.paused or v_step.gated then -v_step.definition_id else v_step.definition_id end from tasker_task t where t.task_no = v_task_no;
    perform pg_notify('tasker_ready', '');
  elsif v_to = 2 then
    update tasker_task t set state = 2, started_at = coalesce(t.started_at, v_now) where t.task_no = v_task_no and t.state = 0;
    if found then
      insert into tasker_history (task_no, at, from_state, to_state) values (v_task_no, v_now, 0, 2);
    end if;
  elsif v_to = 3 then
    insert into tasker_delayed (run_at, task_no, step_no) values (v_run_at, v_task_no, v_step_no);
  end if;
  if v_from = 5 and v_to = 1 then
    perform tasker_recount_task(v_task_no);
  end if;
  perform pg_notify('tasker_news', '');
  return true;
end
$$;

-- source: functions/tasker_use_second_factor.sql 9e112037bc2a
-- tasker_use_second_factor: whether the code of that period may count: none does twice, and none after a later one.
create or replace function tasker_use_second_factor (p_account_id int, p_period bigint)
  returns boolean
  language sql
as $$
  with used as (update tasker_account a set totp_last = p_period where a.account_id = p_account_id and a.totp_last < p_period returning 1)
  select exists (select from used)
$$;

-- source: functions/tasker_use_session.sql c5342e0fd7ba
-- tasker_use_session: who is signed in under that hash now, and with which grants; no row when nobody is.
--   A session is over 8 hours after it was last used, 24 hours after it began, and a half one after 10 minutes.
create or replace function tasker_use_session (p_hash bytea)
  returns table (account_id int, name text, method text, half boolean, grants jsonb, zone text)
  language plpgsql
as $$
begin
  update tasker_session s set seen_at = tasker_clock() where s.session_hash = p_hash and s.seen_at between tasker_clock() - interval '8 hours' and tasker_clock() - interval '1 minute';
  return query
  select a.account_id, a.name, s.method, s.half, tasker_grants(a.account_id), a.zone
    from tasker_session s join tasker_account a using (account_id)
   where s.session_hash = p_hash and not a.disabled
     and s.seen_at > tasker_clock() - interval '8 hours'
     and s.started_at > tasker_clock() - case when s.half then interval '10 minutes' else interval '24 hours' end;
end
$$;

-- source: functions/tasker_use_sign_in_link.sql aecfd9fbec2b
-- tasker_use_sign_in_link: the link is used up; the account it was for, or null when it was used before, expired or never made.
create or replace function tasker_use_sign_in_link (p_hash bytea)
  returns int
  language sql
as $$
  with used as (delete from tasker_sign_in_link l where l.link_hash = p_hash returning l.account_id, l.expires_at)
  select u.account_id from used u join tasker_account a using (account_id) where u.expires_at > tasker_clock() and not a.disabled
$$;

-- source: functions/tasker_use_token.sql be2a871ad0f0
-- tasker_use_token: the secret's hash of a token that counts, its account and grants; no row for one that is unknown, expired or revoked.
create or replace function tasker_use_token (p_token_id text)
  returns table (secret_hash bytea, account_id int, name text, scopes text[], namespace text, grants jsonb)
  language plpgsql
as $$
begin
  update tasker_token t set used_at = tasker_clock()
   where t.token_id = p_token_id and t.revoked_at is null and (t.used_at is null or t.used_at < tasker_clock() - interval '1 minute');
  return query
  select t.secret_hash, a.account_id, a.name, t.scopes, t.namespace, tasker_grants(a.account_id)
    from tasker_token t join tasker_account a using (account_id)
   where t.token_id = p_token_id and t.revoked_at is null and t.expires_at > tasker_clock() and not a.disabled;
end
$$;

-- source: functions/tasker_version_rank.sql 0a2f9f426df5
-- tasker_version_rank: text whose byte order is the semantic order: 1.9.0 < 1.10.0-rc.1 < 1.10.0.
--   numbers are padded, those of a pre-release, which may be long, led by their length; a release ends in '~', which sorts after every pre-release.
create or replace function tasker_version_rank (p_version text)
  returns text
  language sql immutable strict parallel safe
as $$
  select (select string_agg(lpad(part, 10, '0'), '.' order by place)
            from unnest(string_to_array(split_part(split_part(p_version, '+', 1), '-', 1), '.')) with ordinality as number (part, place))
      || case when position('-' in split_part(p_version, '+', 1)) = 0 then '~'
              else '-' || (select string_agg(case when part ~ '^[0-9]+$' then '0' || lpad(length(ltrim(part, '0'))::text, 2, '0') || ltrim(part, '0') else '1' || part end, ' ' order by place)
                             from unnest(string_to_array(substr(split_part(p_version, '+', 1), position('-' in p_version) + 1), '.')) with ordinality as identifier (part, place))
         end
$$;

-- source: functions/tasker_wake_due.sql 83a9a33da627
-- tasker_wake_due: moves what has waited long enough from tasker_delayed to tasker_ready.
--   What an engine was at when it died keeps its turn: it ranks by when it could run for the first time.
--   moves  retrying -> ready, pending roots of a task whose run_at has come -> ready (or skipped when bypassed)
--          and what follows when a bypassed root is skipped: its children -> ready or skipped, and so on down, the task -> its state when all has ended
--   locks  delayed rows (those another session is waking are skipped), then steps; for a bypassed root then as tasker_unlock_children and tasker_count_off
--   events none for what becomes ready: the wait was announced when it was set; step.skipped, task.completed | failed | cancelled
--   returns how many became ready
create or replace function tasker_wake_due (p_limit int)
  returns int
  language plpgsql
as $$
declare
  v_now timestamptz := tasker_clock();
  v_woken int;
  v_skipped_tasks bigint[];
  v_skipped_steps int[];
begin
  with due as (
    delete from tasker_delayed q
     where q.ctid = any(array(select d.ctid from tasker_delayed d where d.run_at <= v_now order by d.run_at limit p_limit for update skip locked))
    returning q.task_no, q.step_no, q.run_at
  ),
  woken as (
    update tasker_step s
       set state = case when s.bypass then 7 else 1 end, finished_at = case when s.bypass then v_now end
      from (select * from due where abs(task_no) = task_no order by task_no, step_no) due   -- see tasker_complete_batch on abs
     where s.task_no = due.task_no and s.step_no = due.step_no
       and case when s.state = 3 or s.state = 0 and s.pending = 0 then true end
    returning s.task_no, s.step_no, s.definition_id, s.paused, s.gated, s.state, s.attempts,
              case when s.state = 1 and s.error ->> 'type' = 'worker_crashed' then least(due.run_at, tasker_ready_since(s.task_no, s.step_no)) else due.run_at end as run_at
  ),
  ready as (
    insert into tasker_ready (rank, task_no, step_no, definition_id)
    select case when w.paused then 'infinity' else w.run_at - (select t.priority from tasker_task t where t.task_no = w.task_no) * interval '1 minute' end,
           w.task_no, w.step_no, case when w.paused or w.gated then -w.definition_id else w.definition_id end
      from woken w where w.state = 1
     order by w.run_at
  ),
  history as (
    insert into tasker_history (task_no, step_no, at, from_state, to_state, attempt)
    select w.task_no, w.step_no, v_now, 0, 7, w.attempts from woken w where w.state = 7
  )
  select count(*) filter (where w.state = 1), array_agg(w.task_no) filter (where w.state = 7), array_agg(w.step_no) filter (where w.state = 7)
    into v_woken, v_skipped_tasks, v_skipped_steps
    from woken w;
  if v_skipped_tasks is not null then
    perform tasker_count_off(tasker_unlock_children(v_skipped_tasks, v_skipped_steps));
  end if;
  return v_woken;
end
$$;

-- source: functions/tasker_withdraw_deliveries.sql 3aac5f77bc0c
-- tasker_withdraw_deliveries: those of a sender's deliveries that nobody has begun never will be.
--   returns those of the numbers for which there is no delivery any more, also where that was so before: the sender may have missed the answer
create or replace function tasker_withdraw_deliveries (p_sender uuid, p_numbers bigint[])
  returns setof bigint
  language plpgsql
as $$
begin
  delete from tasker_delivery d where d.sender = p_sender and d.number = any(p_numbers) and d.place is null;
  -- in a statement of its own, that sees what was begun while the first one waited for it
  return query select n from unnest(p_numbers) n
                where not exists (select from tasker_delivery d where d.sender = p_sender and d.number = n);
end
$$;

-- source: functions/tasker_without_secrets.sql b7b65da772e2
-- tasker_without_secrets: a JSON value without what stands under names of secrets, at any depth.
--   p_names  how such names end, each a regular expression: engine.hiding.masking has them     changes nothing
create or replace function tasker_without_secrets (p_value jsonb, p_names text[])
  returns jsonb
  language plpgsql
  immutable parallel safe
as $$
begin
  if p_value::text !~* ('(' || array_to_string(p_names, '|') || ')":') then
    return p_value;
  end if;
  return case jsonb_typeof(p_value)
    when 'object' then
      (select jsonb_object_agg(e.key, tasker_without_secrets(e.value, p_names)) from jsonb_each(p_value) e
        where e.key !~* ('(' || array_to_string(p_names, '|') || ')$'))
    when 'array' then
      (select jsonb_agg(tasker_without_secrets(e.value, p_names)) from jsonb_array_elements(p_value) e)
    else p_value
  end;
end
$$;

-- source: functions/tasker_words.sql ed82e8e86ab5
-- tasker_words: the words by which a task can be found. Of a context of more than 64 KiB, those of its beginning.
create or replace function tasker_words (p_context jsonb, p_tags text[], p_others text[])
  returns tsvector
  language sql immutable parallel safe
as $$
  select case when octet_length(p_context::text) <= 65536 then jsonb_to_tsvector('simple', p_context, '["string", "numeric"]')
              else to_tsvector('simple', left(p_context::text, 65536)) end
         || to_tsvector('simple', left(array_to_string(p_tags || p_others, ' '), 65536))
$$;

-- source: functions/tasker_words_query.sql 2b1d3c9387f8
-- tasker_words_query: what a text asks for: all its words, the last of them also as a beginning when it has three letters. Null where it has no word.
create or replace function tasker_words_query (p_text text)
  returns tsquery
  language sql immutable parallel safe
as $$
  select case when numnode(q.plain) = 0 then null when p_text ~ '[[:alnum:]]{3}$' then (q.plain::text || ':*')::tsquery else q.plain end
    from plainto_tsquery('simple', p_text) as q (plain)
$$;

-- source: functions/tasker_worker_steps.sql 8ebc88a7b63b
-- tasker_worker_steps: what a worker holds by the database's word; an engine that lost the reply of a call finds its leases again with it.
create or replace function tasker_worker_steps (p_worker int)
  returns table (task_no bigint, step_no int, definition_id int, attempt smallint, claim_no int)
  language sql stable
as $$
  select distinct on (s.task_no, s.step_no) s.task_no, s.step_no, s.definition_id, s.attempts, c.claim_no
    from tasker_claim c, unnest(c.task_nos, c.step_nos) as held (task_no, step_no)
   cross join lateral (select k.task_no, k.step_no, k.definition_id, k.attempts from tasker_step k
                        where k.task_no = held.task_no and k.step_no = held.step_no and k.state = 2 and k.worker_id = p_worker offset 0) s
   where c.worker_id = p_worker
   order by s.task_no, s.step_no, c.claim_no desc
$$;

-- source: views/tasker_archives.sql 21197ade5ed3
-- tasker_archives: where each namespace's tasks are written before they are dropped, as it was set for it, else as the default says, and how that goes.
create or replace view tasker_archives as
select n.namespace, case when a.set_at is null then d.place else a.place end as place, a.set_at is null as by_default,
       coalesce(a.set_by, d.set_by) as set_by, coalesce(a.set_at, d.set_at) as set_at,
       coalesce(s.task_count, 0) as task_count, s.written_at, s.error, s.failed_at
  from tasker_namespace n
  left join tasker_archive a on a.namespace = n.namespace
  left join tasker_archive d on d.namespace is null
  left join tasker_archive_state s on s.namespace = n.namespace;

-- source: views/tasker_logs.sql f38933742cb4
-- tasker_logs: what attempts have logged, in words. One row per line; always ask for one task, in the order of line_no.
create or replace view tasker_logs as
select t.task_id, l.task_no, l.step_no, tasker_step_name(p.name, s.item_no) as step_name, l.attempt, l.line_no, l.at, tasker_level_name(l.level) as level,
       l.message, l.fields, l.level as level_code
  from tasker_log l
  join tasker_task t using (task_no)
  join tasker_step s using (task_no, step_no)
  join tasker_template p on p.definition_id = s.definition_id and p.step_no = coalesce(s.map_no, s.step_no);

-- source: views/tasker_steps.sql 346349493460
-- tasker_steps: steps in words. One row per step of every task; always ask for one task.
create or replace view tasker_steps as
select tasker_step_id(s.task_no, s.step_no) as step_id, t.task_id, s.task_no, s.step_no, tasker_step_name(p.name, s.item_no) as name, tasker_state_name(s.state) as state, s.attempts,
       s.retry_limit, s.bypass, s.cancel_requested, s.worker_id, s.started_at, s.finished_at, s.result, s.error, p.handler, p.parents, coalesce(s.children, '{}') as children,
       s.passed_over, s.map_no, s.item_no, s.item, s.item_count
  from tasker_step s
  join tasker_task t using (task_no)
  join tasker_template p on p.definition_id = s.definition_id and p.step_no = coalesce(s.map_no, s.step_no);

-- source: views/tasker_tasks.sql 96071b3df14b
-- tasker_tasks: tasks in words, for people, lists and reports. One row per task; no counting of steps, so a page of it is cheap.
create or replace view tasker_tasks as
select t.task_id, t.task_no, d.namespace, d.name, d.version, tasker_state_name(t.state) as state, t.paused, t.priority, t.tags, t.initiator,
       t.reason, t.source_system, t.correlation_id, t.context, t.created_at, t.started_at, t.finished_at, t.run_at, t.cancel_requested_at,
       d.step_count + t.item_count as step_count, t.failed_count, t.cancelled_count, t.definition_id, t.state as state_code, t.parent_task_id, t.parent_step
  from tasker_task t
  join tasker_definition d using (definition_id);
