-- tasker_reset_limit: a limit is again as the definition declares it.
--   moves  none     locks  the limit, then its lines in order     raises WF001, WF006 as tasker_set_limit     events none
create or replace function tasker_reset_limit (p_namespace text, p_name text, p_step_name text, p_actor text, p_seen text default null)
  returns void
  language plpgsql
as $$
declare
  v_declared jsonb;
begin
  select l.declared into v_declared from tasker_limit l where l.namespace = p_namespace and l.name = p_name and l.step_name = p_step_name for update;
  perform tasker_set_limit(p_namespace, p_name, p_step_name, (v_declared ->> 'at_once')::int, (v_declared ->> 'per_period')::int, p_actor, p_seen => p_seen);
  update tasker_limit l set changed_by = null, changed_at = null, change_reason = null where l.namespace = p_namespace and l.name = p_name and l.step_name = p_step_name;
end
$$;
