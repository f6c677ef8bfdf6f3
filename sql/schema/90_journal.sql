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
