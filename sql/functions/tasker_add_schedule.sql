-- tasker_add_schedule: a workflow is to run again and again.
-- needs: tasker_clock
--   p_schedule  {"namespace", "name", "version", "kind", "expression", "time_zone", "context", "policy", "next_run_at", "created_by"}, all of it valid
--   returns its id
create or replace function tasker_add_schedule (p_schedule jsonb)
  returns int
  language sql
as $$
  insert into tasker_schedule (namespace, name, version, kind, expression, time_zone, context, policy, next_run_at, created_by, created_at)
  select field.namespace, field.name, field.version, field.kind, field.expression, field.time_zone, field.context, field.policy,
         field.next_run_at, field.created_by, tasker_clock()
    from jsonb_to_record(p_schedule) as field (namespace text, name text, version text, kind text, expression text, time_zone text,
                                               context jsonb, policy text, next_run_at timestamptz, created_by text)
  returning schedule_id
$$;
