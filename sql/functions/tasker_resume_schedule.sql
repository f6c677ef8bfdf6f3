-- tasker_resume_schedule: it runs again, from p_next_run_at on; what it did not run while it was paused is not made up for.
--   raises WF001 unknown schedule, WF002 when it is not paused
create or replace function tasker_resume_schedule (p_schedule_id int, p_next_run_at timestamptz, p_actor text, p_reason text)
  returns void
  language plpgsql
as $$
declare
  v_paused boolean;
begin
  select s.paused into v_paused from tasker_schedule s where s.schedule_id = p_schedule_id for update;
  if not found then
    raise exception 'there is no schedule %', p_schedule_id using errcode = 'WF001';
  elsif not v_paused then
    raise exception 'the schedule is not paused' using errcode = 'WF002';
  end if;
  -- an engine that claimed it before the pause finds it moved on, and advances nothing
  update tasker_schedule s
     set paused = false, next_run_at = p_next_run_at, claimed_until = null,
         changed_by = p_actor, changed_at = tasker_clock(), change_reason = p_reason
   where s.schedule_id = p_schedule_id;
end
$$;
