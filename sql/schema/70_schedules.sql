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
