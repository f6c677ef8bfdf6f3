-- tasker_set_limit: an operator changes how much may go on at once or begin within the period; it holds, whatever versions come, until tasker_reset_limit.
--   p_step_name  empty for the limit on the workflow's tasks     p_at_once, p_per_period  null: any number; 0: nothing begins
--   p_seen  what tasker_limit_seen said when it was looked at; null: whatever it is now
--   moves  none; what has its place keeps it     locks  the limit, then its lines in order
--   raises WF001 when the workflow declares no such limit, WF006 when it is not as it was seen     events none
create or replace function tasker_set_limit (
  p_namespace text, p_name text, p_step_name text, p_at_once int, p_per_period int, p_actor text, p_reason text default null, p_seen text default null
)
  returns void
  language plpgsql
as $$
declare
  v_limit tasker_limit;
begin
  select l.* into v_limit from tasker_limit l where l.namespace = p_namespace and l.name = p_name and l.step_name = p_step_name for update;
  if not found then
    raise exception '%/% declares no limit%', p_namespace, p_name, case when p_step_name = '' then ' on its tasks' else format(' on step "%s"', p_step_name) end
      using errcode = 'WF001', hint = 'give the workflow or the step the option limit; its numbers can then be changed here';
  end if;
  if p_seen <> tasker_limit_seen(v_limit) then
    raise exception 'the limit was changed since you looked, and nothing was done; look again' using errcode = 'WF006';
  end if;
  update tasker_limit l set at_once = p_at_once, per_period = p_per_period, changed_by = p_actor, changed_at = tasker_clock(), change_reason = p_reason
   where l.limit_id = v_limit.limit_id;
  perform tasker_look_again(v_limit.limit_id);
end
$$;
