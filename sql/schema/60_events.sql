-- Who listens: the history is the event log, and each subscriber has a durable place in it.
-- An event's id is twice its history row's number, and one more for step.retried, which shares the row of its step.failed.

-- readers go through the history by number
create index tasker_history_event on tasker_history (event_id);

create table tasker_subscription (
  name             text primary key,        -- of the EventSubscriber class
  event_id         bigint not null,         -- everything up to here was delivered or laid aside
  owner            uuid,                    -- the engine that delivers to it now
  lease_until      timestamptz,             -- by the database's clock; then another engine may take over
  fence            bigint not null default 0,   -- goes up with every new owner; a report must name it
  attempts         int not null default 0,  -- of the event that comes next
  failures         int not null default 0,  -- those of the attempts that ended for a reason which was not said to pass
  first_refused_at timestamptz,             -- when that event was refused for the first time; null while it was not
  next_try_at      timestamptz,             -- set while that event waits for another attempt
  last_error       text,                    -- of the last attempt that failed; null once the event was delivered
  delivered_count  bigint not null default 0,
  delivered_at     timestamptz,
  created_at       timestamptz not null,
  check ((owner is null) = (lease_until is null))
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- events that a subscriber refused for good; kept for a person to look at, and to have them delivered again
create table tasker_undelivered (
  name      text not null,                  -- of the subscriber
  event_id  bigint not null,
  event     jsonb not null,
  attempts  int not null,
  error     text not null,
  at        timestamptz not null,
  primary key (name, event_id)
);
create index tasker_undelivered_task on tasker_undelivered ((event ->> 'task_id'));   -- the event goes with its task

-- events that handlers published; their numbers come from the history's sequence, so that one order holds all
create table tasker_custom_event (
  event_no  bigint primary key,
  at        timestamptz not null,
  type      text not null,
  task_no   bigint not null,
  step_no   int,
  data      jsonb
);
create index tasker_custom_event_task on tasker_custom_event (task_no);
