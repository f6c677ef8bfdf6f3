-- tasker_task_no: the inner number of a task.
--   raises WF001 when there is no such task
create or replace function tasker_task_no (p_task_id uuid)
  returns bigint
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_no bigint;
begin
  select t.task_no into v_task_no from tasker_task t where t.task_id = p_task_id;
  if v_task_no is null then
    raise exception 'there is no task %', p_task_id using errcode = 'WF001';
  end if;
  return v_task_no;
end
$$;
