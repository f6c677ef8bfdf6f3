-- tasker_set_default_retention: what every namespace follows that has no retention of its own; null: tasks are kept for ever.
create or replace function tasker_set_default_retention (p_retention interval, p_actor text)
  returns void
  language sql
as $$
  insert into tasker_retention_default (retention, set_by, set_at)
  values (p_retention, p_actor, tasker_clock())
  on conflict (only_row) do update set retention = excluded.retention, set_by = excluded.set_by, set_at = excluded.set_at
$$;
