-- tasker_retry_step: an operator lets a failed step try again, with as many attempts as its template grants; or ends a back-off early.
--   moves  failed, retrying -> ready, and a failed task -> running     locks  as tasker_take_step, then the task
--   raises WF001 unknown task or step, WF002 when the step is neither failed nor retrying, the task was cancelled, or it is tried as often as can be counted
--   events none of its own; the history says who and why
create or replace function tasker_retry_step (p_task_id uuid, p_step_name text, p_actor text, p_reason text)
  returns text
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_step_no int := tasker_step_no(v_task_no, p_step_name);
  v_step tasker_step;
  v_now timestamptz := tasker_clock();
begin
  v_step := tasker_take_step(v_task_no, v_step_no);
  if v_step.state not in (3, 5) then
    raise exception 'the step is %, only a failed or waiting step can be retried', tasker_state_name(v_step.state) using errcode = 'WF002';
  end if;
  perform tasker_refuse_cancelled(v_task_no);
  perform tasker_refuse_spent(v_task_no, array[v_step_no]);
  perform tasker_leave_queue(v_task_no, v_step_no);
  update tasker_step s
     set state = 1, finished_at = null,
         retry_limit = case when v_step.state = 5 then least(s.attempts + p.retry_limit, 32767) else s.retry_limit end
    from tasker_template p
   where s.task_no = v_task_no and s.step_no = v_step_no and p.definition_id = s.definition_id and p.step_no = coalesce(s.map_no, s.step_no);
  insert into tasker_history (task_no, step_no, at, from_state, to_state, actor, reason)
  values (v_task_no, v_step_no, v_now, v_step.state, 1, p_actor, p_reason);
  insert into tasker_ready (rank, task_no, step_no, definition_id)
  select case when v_step.paused then 'infinity' else v_now - t.priority * interval '1 minute' end, v_task_no, v_step_no,
         case when v_step.paused or v_step.gated then -v_step.definition_id else v_step.definition_id end from tasker_task t where t.task_no = v_task_no;
  if v_step.state = 5 then
    perform tasker_recount_task(v_task_no, p_actor, p_reason);
  end if;
  perform pg_notify('tasker_ready', '');
  perform pg_notify('tasker_news', '');
  return 'ready';
end
$$;
