-- tasker_leave_queue: a step the caller holds no longer waits its turn, nor before a limit.
--   A row that a claim has taken in this moment is left to it: the claim finds that the step has moved and drops it.
--   locks  none that it would wait for
create or replace function tasker_leave_queue (p_task_no bigint, p_step_no int)
  returns void
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
begin
  delete from tasker_ready r
   where r.ctid = any(array(select q.ctid from tasker_ready q where q.task_no = p_task_no and q.step_no = p_step_no for update skip locked));
  if found then   -- see tasker_leave_line
    delete from tasker_waiting w where w.task_no = p_task_no and w.step_no = p_step_no;
  end if;
  delete from tasker_delayed d
   where d.ctid = any(array(select q.ctid from tasker_delayed q where q.task_no = p_task_no and q.step_no = p_step_no for update skip locked));
end
$$;
