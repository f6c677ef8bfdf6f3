-- tasker_hold_tasks: nothing of these tasks moves but by the caller, until its transaction ends.
--   locks  their queue rows, then as tasker_hold_steps every step that can still move; the caller may then lock the tasks
--   raises 40001 as tasker_hold_steps
create or replace function tasker_hold_tasks (p_task_nos bigint[])
  returns void
  language plpgsql
as $$
begin
  perform tasker_hold_queues(p_task_nos);
  perform tasker_hold_steps(null, null, p_task_nos);
end
$$;
