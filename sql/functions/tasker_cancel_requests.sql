-- tasker_cancel_requests: which of these steps were asked to stop; an engine asks it about the steps it is running.
create or replace function tasker_cancel_requests (p_task_nos bigint[], p_step_nos int[])
  returns table (task_no bigint, step_no int)
  language sql stable
as $$
  select s.task_no, s.step_no
    from unnest(p_task_nos, p_step_nos) as wanted (task_no, step_no)
   cross join lateral (select k.task_no, k.step_no from tasker_step k
                        where k.task_no = wanted.task_no and k.step_no = wanted.step_no and k.state = 2 and k.cancel_requested offset 0) s
$$;
