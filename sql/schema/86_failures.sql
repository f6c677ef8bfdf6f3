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
