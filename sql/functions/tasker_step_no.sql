-- tasker_step_no: the number of a named step in a task; charge[3] is the fourth item of the map step charge.
--   raises WF001 when the task has no such step
create or replace function tasker_step_no (p_task_no bigint, p_step_name text)
  returns int
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_item_no int := substring(p_step_name from '\[([0-9]{1,6})\]$')::int;
  v_step_no int;
begin
  select case when v_item_no is null then p.step_no
              else (select s.first_item + v_item_no from tasker_step s where s.task_no = p_task_no and s.step_no = p.step_no and v_item_no < s.item_count) end
    into v_step_no
    from tasker_task t join tasker_template p using (definition_id)
   where t.task_no = p_task_no and tasker_step_name(p.name, v_item_no) = p_step_name
     and p.name = regexp_replace(p_step_name, '\[[0-9]{1,6}\]$', '');
  if v_step_no is null then
    raise exception 'the task has no step "%"', p_step_name using errcode = 'WF001';
  end if;
  return v_step_no;
end
$$;
