-- Where tasks are written to files before retention drops them: a folder of the engines' machines, with a folder per namespace and day in it.

create table tasker_archive (
  namespace  text unique nulls not distinct references tasker_namespace,   -- null: what namespaces follow that have no row of their own
  place      text check (place <> ''),      -- null: what is dropped is not written anywhere
  set_by     text,
  set_at     timestamptz not null
);

-- how the writing goes; a row per namespace of which anything was to be written
create table tasker_archive_state (
  namespace   text primary key,
  task_count  bigint not null default 0,    -- written and dropped so far
  written_at  timestamptz,
  error       text,                         -- why the last batch could not be written; null: it was
  failed_at   timestamptz,
  check ((error is null) = (failed_at is null))
);
