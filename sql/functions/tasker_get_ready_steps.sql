-- tasker_get_ready_steps: which steps of a task may run now.
--   returns no rows when the task is not one of this namespace and name, or is paused
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
    from (select r.step_no, r.rank as since from tasker_ready r where r.task_no = v_task_no and (r.definition_id > 0 or r.rank < 'infinity')
          union all
          select d.step_no, d.run_at from tasker_delayed d where d.task_no = v_task_no and d.run_at <= tasker_clock()
             and not (select t.paused from tasker_task t where t.task_no = v_task_no)) waiting
   -- lateral by key: a join may be planned as a walk through all steps of the task, depending on what was analysed, and when
   cross join lateral (select k.task_no, k.step_no, k.map_no, k.item_no, k.definition_id, k.attempts, k.retry_limit, k.state, k.bypass from tasker_step k
                        where k.task_no = v_task_no and k.step_no = waiting.step_no offset 0) s
   cross join lateral (select k.name from tasker_template k where k.definition_id = s.definition_id and k.step_no = coalesce(s.map_no, s.step_no) offset 0) p
   where s.state in (0, 1, 3) and not (s.state = 0 and s.bypass)
   order by s.step_no;
end
$$;
