-- tasker_step_no: the place of a named step in a task.
--   raises WF001 when the task has no such step
create or replace function tasker_step_no (p_task_no bigint, p_step_name text)
  returns int
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_step_no int;
begin
  select p.step_no into v_step_no
    from tasker_task t join tasker_template p using (definition_id)
   where t.task_no = p_task_no and p.name = p_step_name;
  if v_step_no is null then
    raise exception 'the task has no step "%"', p_step_name using errcode = 'WF001';
  end if;
  return v_step_no;
end
$$;
