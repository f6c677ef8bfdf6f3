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
