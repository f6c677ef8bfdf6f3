-- tasker_resolve_step: an operator supplies the outcome of a step; it counts as completed and its children receive the result.
--   moves  pending, ready, retrying, failed -> resolved     locks  as tasker_take_step, then the task
--   raises WF001 unknown task or step, WF002 when it is running or has ended otherwise, or the task was cancelled, 22023 when it is a decision
--          and the result is no list of its children
--   events step.resolved
create or replace function tasker_resolve_step (p_task_id uuid, p_step_name text, p_result jsonb, p_actor text, p_reason text)
  returns text
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_step tasker_step;
begin
  v_step := tasker_take_step(v_task_no, tasker_step_no(v_task_no, p_step_name));
  if v_step.state not in (0, 1, 3, 5) then
    raise exception 'the step is %, it cannot be resolved', tasker_state_name(v_step.state) using errcode = 'WF002';
  end if;
  perform tasker_refuse_cancelled(v_task_no);
  return tasker_satisfy_step(v_step, 8::smallint, p_result, p_actor, p_reason);
end
$$;
