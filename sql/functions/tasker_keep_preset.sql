-- tasker_keep_preset: a context is kept for later launches of a workflow; under the same name it takes the place of the earlier one.
--   raises WF001 unknown workflow
create or replace function tasker_keep_preset (p_namespace text, p_name text, p_preset text, p_context jsonb, p_actor text)
  returns void
  language plpgsql
as $$
begin
  if not exists (select from tasker_definition d where d.namespace = p_namespace and d.name = p_name) then
    raise exception 'there is no workflow %/%', p_namespace, p_name using errcode = 'WF001';
  end if;
  insert into tasker_preset (namespace, name, preset, context, changed_by, changed_at)
  values (p_namespace, p_name, p_preset, p_context, p_actor, tasker_clock())
  on conflict (namespace, name, preset)
  do update set context = excluded.context, changed_by = excluded.changed_by, changed_at = excluded.changed_at;
end
$$;
