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
