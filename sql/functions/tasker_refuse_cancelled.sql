-- tasker_refuse_cancelled: nothing leads out of a cancelled task.
--   raises WF002 when the task is cancelled or asked to stop
create or replace function tasker_refuse_cancelled (p_task_no bigint)
  returns void
  language plpgsql
as $$
begin
  if exists (select from tasker_task t where t.task_no = p_task_no and t.cancel_requested_at is not null) then
    raise exception 'the task was cancelled' using errcode = 'WF002';
  end if;
end
$$;
