-- What may run: namespaces, task definitions and their step templates.

create table tasker_namespace (
  namespace    text primary key,
  description  text not null default '',
  retention    interval check (retention > interval '0'),   -- how long a task is kept after its end; null: for ever
  retention_set_by  text,
  retention_set_at  timestamptz              -- null: never set for this namespace, which follows the default; see tasker_retentions
);

-- what namespaces follow that have no retention of their own; at most one row
create table tasker_retention_default (
  only_row   boolean primary key default true check (only_row),
  retention  interval check (retention > interval '0'),   -- null: for ever
  set_by     text,
  set_at     timestamptz not null
);

create table tasker_definition (
  definition_id  int generated always as identity primary key,
  namespace      text not null references tasker_namespace,
  name           text not null,
  version        text not null,
  version_rank   text not null,             -- sorts as bytes in semantic order, see tasker_version_rank
  prerelease     boolean not null,          -- never chosen unless named
  description    text not null default '',
  schema         json,                      -- JSON Schema of the context, its properties in the author's order; null accepts any object
  fingerprint    text not null,             -- sha-256 of the definition's canonical JSON
  content        jsonb not null default '{}',   -- what the fingerprint is made of, to tell what differs; {}: whoever made it known did not say
  step_count     int not null check (step_count > 0),
  used           boolean not null default false,   -- a task was made from it: from now on immutable
  created_at     timestamptz not null,
  unique (namespace, name, version)
);

create table tasker_template (
  definition_id   int not null references tasker_definition on delete cascade,
  step_no         int not null check (step_no >= 0),   -- topological: a parent's number is smaller than its child's
  name            text not null,
  description     text not null default '',
  handler         text,                     -- what to call, for people to read; null completes at once
  parents         int[] not null,
  children        int[] not null,
  decision        boolean not null default false,   -- its result names the children that go on
  for_each        int,                      -- a map step: the step whose result holds the list of its items; null: an ordinary step
  for_each_path   text[] not null default '{}',     -- where in that result the list is
  retryable       boolean not null,
  retry_limit     int not null check (retry_limit between 1 and 1000),  -- attempts in all, the first included
  timeout_ms      bigint check (timeout_ms > 0),
  backoff_base        float8 not null check (backoff_base >= 0),        -- seconds
  backoff_multiplier  float8 not null check (backoff_multiplier >= 1),
  backoff_cap         float8 not null check (backoff_cap >= 0),         -- seconds
  backoff_jitter      float8 not null check (backoff_jitter between 0 and 1),  -- share of the wait
  labels          text[] not null default '{}',   -- what an engine must have to run it, sorted
  gated           boolean not null default false,   -- it has labels or a limit, or is where a limited workflow begins: see 87_gates.sql
  output_schema   jsonb,
  handler_config  jsonb,
  resources       jsonb not null default '{}',   -- what it needs of a worker beyond the engine's machine: name to amount
  primary key (definition_id, step_no),
  check (for_each is null or not decision)
);
-- names are unique within a definition. An expression, not columns: on a table whose statistics are from when it was empty, a plan would as
-- gladly walk all of a definition by an index of (definition_id, name) as find one step by the key
create unique index tasker_template_name on tasker_template ((definition_id::text || ' ' || name));
