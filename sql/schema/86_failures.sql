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
