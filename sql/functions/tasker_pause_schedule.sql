-- tasker_pause_schedule: it makes no task until it is resumed; tasks it has made go on.
--   raises WF001 unknown schedule, WF002 when it is paused already
create or replace function tasker_pause_schedule (p_schedule_id int, p_actor text, p_reason text)
  returns void
  language plpgsql
as $$
declare
  v_paused boolean;
begin
  select s.paused into v_paused from tasker_schedule s where s.schedule_id = p_schedule_id for update;
  if not found then
    raise exception 'there is no schedule %', p_schedule_id using errcode = 'WF001';
  elsif v_paused then
    raise exception 'the schedule is paused already' using errcode = 'WF002';
  end if;
  update tasker_schedule s
     set paused = true, changed_by = p_actor, changed_at = tasker_clock(), change_reason = p_reason
   where s.schedule_id = p_schedule_id;
end
$$;
