-- tasker_get_ready_steps: which steps of a task may run now.
--   returns no rows when the task is not one of this namespace and name
create or replace function tasker_get_ready_steps (p_namespace text, p_task_name text, p_task_id uuid)
  returns table (step_id bigint, step_name text, attempts smallint, retry_limit smallint, ready_since timestamptz)
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
#variable_conflict use_column
declare
  v_task_no bigint;
begin
  select t.task_no into v_task_no from tasker_task t join tasker_definition d using (definition_id)
   where t.task_id = p_task_id and d.namespace = p_namespace and d.name = p_task_name;
  return query
  select tasker_step_id(s.task_no, s.step_no), tasker_step_name(p.name, s.item_no), s.attempts, s.retry_limit, waiting.since
    from (select r.step_no, r.rank as since from tasker_ready r where r.task_no = v_task_no
          union all
          select d.step_no, d.run_at from tasker_delayed d where d.task_no = v_task_no and d.run_at <= tasker_clock()) waiting
    join tasker_step s on s.task_no = v_task_no and s.step_no = waiting.step_no and s.state in (0, 1, 3) and not (s.state = 0 and s.bypass)
    join tasker_template p on p.definition_id = s.definition_id and p.step_no = coalesce(s.map_no, s.step_no)
   order by s.step_no;
end
$$;
