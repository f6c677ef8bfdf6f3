-- tasker_ready_since: when a step could run for the first time: its last parent had ended, or its task was to begin.
create or replace function tasker_ready_since (p_task_no bigint, p_step_no int)
  returns timestamptz
  language sql stable
as $$
  select coalesce(
    (select max(k.finished_at)
       from (select s.definition_id, coalesce(s.map_no, s.step_no) as template_no from tasker_step s where s.task_no = p_task_no and s.step_no = p_step_no offset 0) s
      cross join lateral (select q.parents from tasker_template q where q.definition_id = s.definition_id and q.step_no = s.template_no offset 0) p
      cross join unnest(p.parents) as parent (step_no)
      cross join lateral (select c.finished_at from tasker_step c where c.task_no = p_task_no and c.step_no = parent.step_no offset 0) k),
    (select greatest(t.created_at, t.run_at) from tasker_task t where t.task_no = p_task_no))
$$;
