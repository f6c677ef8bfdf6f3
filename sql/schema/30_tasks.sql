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
