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
