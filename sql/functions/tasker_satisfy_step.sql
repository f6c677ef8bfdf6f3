-- tasker_satisfy_step: the common part of skip and resolve: a step ends well without its handler, and its children go on.
--   p_step   the step as tasker_take_step gave it, locked     p_state  7 skipped or 8 resolved
--   moves  p_step -> p_state, children -> ready or, when it is a decision that did not choose them, skipped; a failed task -> running or its end
--   locks  the task; the caller holds everything else in it
--   events step.skipped or step.resolved, task.*
create or replace function tasker_satisfy_step (p_step tasker_step, p_state smallint, p_result jsonb, p_actor text, p_reason text)
  returns text
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_now timestamptz := tasker_clock();
  v_passed int[];
begin
  perform tasker_leave_queue(p_step.task_no, p_step.step_no);
  update tasker_step s set state = p_state, result = p_result, error = null, finished_at = v_now
   where s.task_no = p_step.task_no and s.step_no = p_step.step_no;
  insert into tasker_history (task_no, step_no, at, from_state, to_state, actor, reason)
  values (p_step.task_no, p_step.step_no, v_now, p_step.state, p_state, p_actor, p_reason);
  v_passed := case when p_state = 8 then tasker_pass_over(p_step, p_result) end || p_step.step_no;
  perform tasker_unlock_children(array_fill(p_step.task_no, array[cardinality(v_passed)]), v_passed);
  perform tasker_recount_task(p_step.task_no, p_actor, p_reason);
  perform pg_notify('tasker_ready', '');
  perform pg_notify('tasker_news', '');
  return tasker_state_name(p_state);
end
$$;
