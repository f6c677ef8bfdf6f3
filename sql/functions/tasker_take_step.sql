-- tasker_take_step: an operator's action takes hold of a step: out of the queues, locked.
--   locks  queue rows first (a claim takes them before the step), then the step     moves  none; the caller decides
create or replace function tasker_take_step (p_task_no bigint, p_step_no int)
  returns tasker_step
  language plpgsql
as $$
declare
  v_step tasker_step;
begin
  perform from tasker_ready r where r.task_no = p_task_no and r.step_no = p_step_no for update;
  perform from tasker_delayed d where d.task_no = p_task_no and d.step_no = p_step_no for update;
  select s.* into v_step from tasker_step s where s.task_no = p_task_no and s.step_no = p_step_no for update;
  if v_step.state in (1, 3) then
    delete from tasker_ready r where r.task_no = p_task_no and r.step_no = p_step_no;
    delete from tasker_delayed d where d.task_no = p_task_no and d.step_no = p_step_no;
  end if;
  return v_step;
end
$$;
