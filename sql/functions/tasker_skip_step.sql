-- tasker_skip_step: an operator goes on without a step; after a decision that is skipped all its children go on.
--   moves  ready, retrying, failed -> skipped; a pending step is marked and becomes skipped when its parents are done, so nothing overtakes them
--   locks  as tasker_take_step, then the task
--   raises WF001 unknown task or step, WF002 when it is running or has ended otherwise, or the task was cancelled     events step.skipped
create or replace function tasker_skip_step (p_task_id uuid, p_step_name text, p_actor text, p_reason text)
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
    raise exception 'the step is %, it cannot be skipped', tasker_state_name(v_step.state) using errcode = 'WF002';
  end if;
  perform tasker_refuse_cancelled(v_task_no);
  if v_step.state <> 0 then
    return tasker_satisfy_step(v_step, 7::smallint, null, p_actor, p_reason);
  end if;
  update tasker_step s set bypass = true where s.task_no = v_task_no and s.step_no = v_step.step_no;
  insert into tasker_history (task_no, step_no, at, from_state, to_state, actor, reason, detail)
  values (v_task_no, v_step.step_no, tasker_clock(), 0, 0, p_actor, p_reason, '{"bypass": true}');
  perform pg_notify('tasker_news', '');
  return 'pending';
end
$$;
