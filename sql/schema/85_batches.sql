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
