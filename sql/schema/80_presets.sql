-- Contexts that people launch a workflow with again and again, each under a name of its own.

create table tasker_preset (
  namespace   text not null,
  name        text not null,
  preset      text not null check (length(preset) between 1 and 100),
  context     jsonb not null,               -- need not be complete: the launch form asks for the rest
  changed_by  text,
  changed_at  timestamptz not null,
  primary key (namespace, name, preset)
);
