-- tasker_read_tasks: what every step of a task shares, for an engine that has just claimed some of them.
create or replace function tasker_read_tasks (p_task_nos bigint[])
  returns table (task_no bigint, task_id uuid, context text, correlation_id text, traceparent text)
  language sql stable
as $$
  select t.task_no, t.task_id, t.context::text, t.correlation_id, t.traceparent
    from unnest(p_task_nos) as wanted (task_no)
   cross join lateral (select k.task_no, k.task_id, k.context, k.correlation_id, k.traceparent from tasker_task k where k.task_no = wanted.task_no offset 0) t
$$;
