-- tasker_cancel_step: an operator stops one step; what waits for it is cancelled with it, other branches go on.
--   moves  pending, ready, retrying -> cancelled, and its descendants; running is asked to stop
--   locks  as tasker_take_step, then the task
--   raises WF001 unknown task or step, WF002 when the step has ended     events step.cancelled
create or replace function tasker_cancel_step (p_task_id uuid, p_step_name text, p_actor text, p_reason text)
  returns text
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_step_no int := tasker_step_no(v_task_no, p_step_name);
  v_now timestamptz := tasker_clock();
  v_step tasker_step;
begin
  v_step := tasker_take_step(v_task_no, v_step_no);
  if v_step.state not in (0, 1, 2, 3) then
    raise exception 'the step is % already', tasker_state_name(v_step.state) using errcode = 'WF002';
  end if;
  if v_step.state = 2 then
    update tasker_step s set cancel_requested = true where s.task_no = v_task_no and s.step_no = v_step_no;
    insert into tasker_history (task_no, step_no, at, from_state, to_state, attempt, actor, reason, detail)
    values (v_task_no, v_step_no, v_now, 2, 2, v_step.attempts, p_actor, p_reason, '{"cancel_requested": true}');
    perform pg_notify('tasker_cancel', '');
  else
    perform tasker_leave_queue(v_task_no, v_step_no);
    update tasker_step s set state = 6, finished_at = v_now where s.task_no = v_task_no and s.step_no = v_step_no;
    insert into tasker_history (task_no, step_no, at, from_state, to_state, actor, reason)
    values (v_task_no, v_step_no, v_now, v_step.state, 6, p_actor, p_reason);
    perform tasker_block_descendants(array[v_task_no], array[v_step_no]);
  end if;
  perform pg_notify('tasker_news', '');
  return case when v_step.state = 2 then 'running' else 'cancelled' end;
end
$$;
