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
