-- tasker_take_step: an operator's action takes hold of a step and of all that can move with it.
--   returns the step as it is now     locks  as tasker_hold_tasks     moves  none; the caller decides
--   raises WF001 when the task was dropped in this moment
create or replace function tasker_take_step (p_task_no bigint, p_step_no int)
  returns tasker_step
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_step tasker_step;
begin
  perform tasker_hold_tasks(array[p_task_no]);
  select s.* into v_step from tasker_step s where s.task_no = p_task_no and s.step_no = p_step_no for update;
  if not found then
    raise exception 'there is no such step any more' using errcode = 'WF001';
  end if;
  return v_step;
end
$$;
