-- Steps that an engine has handed to workers of a message broker. The message holds nothing but a token; what is to be done stands here.

-- One order under way. Whoever begins it has the token; a second message with it finds it begun, and one that was withdrawn finds nothing.
create table tasker_delivery (
  token        uuid primary key default gen_random_uuid(),
  sender       uuid not null,              -- one life of one engine's runner
  number       bigint not null,            -- the sender's own name for it
  worker_id    int not null,               -- the engine, whose lease must run for it to begin and to go on
  task_no      bigint not null,
  step_no      int not null,
  attempt      smallint not null,
  posted_at    timestamptz not null,
  place        text,                       -- who began it
  lease_until  timestamptz,                -- once begun: when it is lost unless its place is heard of
  kind         smallint,                   -- once ended: what came of it, see engine/runners
  payload      text,
  check ((place is null) = (lease_until is null)),
  check (kind is null or place is not null)
);
create index tasker_delivery_sender on tasker_delivery (sender);   -- what a sender takes

-- what handlers say there while they run, until the sender takes it
create table tasker_delivery_word (
  word_no    bigint generated always as identity primary key,
  sender     uuid not null,
  number     bigint not null,
  said_at    timestamptz not null,
  is_line    boolean not null,             -- a line of log; else progress
  fields     jsonb not null
);
create index tasker_delivery_word_sender on tasker_delivery_word (sender);

-- the processes that take such messages
create table tasker_delivery_place (
  place        text primary key,
  concurrency  int not null,
  version      text not null,              -- of tasker-engine
  seen_at      timestamptz not null
);
