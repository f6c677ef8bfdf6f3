-- tasker_hold_queues: nothing of these tasks is claimed or woken until the caller's transaction ends.
--   A claim that takes a step from the queue must never wait for it: whoever goes on to lock waiting steps locks their queue rows first.
--   The order of all locks: queue rows, the reporter's own steps, other steps by (task_no, step_no), tasks by task_no.
--   locks  ready rows, then delayed rows, each by (task_no, step_no)
create or replace function tasker_hold_queues (p_task_nos bigint[])
  returns void
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
begin
  perform from tasker_ready r where r.task_no = any(p_task_nos) order by r.task_no, r.step_no, r.ready_no for update;
  perform from tasker_delayed d where d.task_no = any(p_task_nos) order by d.task_no, d.step_no, d.run_at for update;
end
$$;
