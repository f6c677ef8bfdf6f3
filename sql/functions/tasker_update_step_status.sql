-- tasker_update_step_status: one move of one step, by hand or by another program; compare and set.
--   It records the move only: tasker_resolve_dependencies then unlocks the children and settles the task. A task that had ended runs again with
--   the first step that is led out of failure to run again.
--   moves  pending -> ready, running when no parent is open; ready, retrying -> running; retrying -> ready; running -> completed, failed, ready,
--          retrying with its back-off; failed -> ready; pending, ready, retrying, running -> cancelled; pending, ready, retrying, failed -> skipped, resolved
--   returns true; false when the step was not in p_from_state
--   locks  as tasker_take_step, then the task
--   raises WF001 unknown step, WF002 for a move that does not exist, leads on in a cancelled task, or to another attempt than can be counted
create or replace function tasker_update_step_status (p_step_id bigint, p_from_state text, p_to_state text)
  returns boolean
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_no bigint := (tasker_step_place(p_step_id)).task_no;
  v_step_no int := (tasker_step_place(p_step_id)).step_no;
  v_now timestamptz := tasker_clock();
  v_from smallint := tasker_state_code(p_from_state);
  v_to smallint := tasker_state_code(p_to_state);
  v_run_at timestamptz;
  v_step tasker_step;
begin
  if not coalesce(tasker_move_exists(v_from, v_to), false) then
    raise exception 'a step cannot move from "%" to "%"', p_from_state, p_to_state using errcode = 'WF002';
  end if;
  if not exists (select from tasker_step s where s.task_no = v_task_no and s.step_no = v_step_no) then
    raise exception 'there is no step %', p_step_id using errcode = 'WF001';
  end if;
  v_step := tasker_take_step(v_task_no, v_step_no);
  if v_step.state <> v_from then
    return false;
  end if;
  if v_from = 0 and v_to in (1, 2) and v_step.pending > 0 then
    raise exception 'the step waits for % of its parents', v_step.pending using errcode = 'WF002';
  end if;
  if v_to in (1, 2, 3, 7, 8) then
    perform tasker_refuse_cancelled(v_task_no);
  end if;
  if v_to in (1, 2, 3) then
    perform tasker_refuse_spent(v_task_no, array[v_step_no]);
  end if;
  perform tasker_leave_queue(v_task_no, v_step_no);
  v_run_at := case when v_to = 3 then v_now + tasker_backoff(v_step.definition_id, coalesce(v_step.map_no, v_step_no), v_step.attempts, null) end;
  -- what moved by hand was not bypassed on request: its parents' end must not move it once more
  update tasker_step s
     set state = v_to, worker_id = case when v_to = 2 then 0 end, attempts = s.attempts + (v_to = 2)::int, bypass = s.bypass and v_from <> 0,
         cancel_requested = s.cancel_requested and v_from <> 2,
         started_at = case when v_to = 2 then v_now else s.started_at end,
         finished_at = case when v_to in (4, 5, 6, 7, 8) then v_now end,
         error = case when v_to not in (4, 7, 8) then s.error end,
         retry_limit = case when v_from = 5 and v_to = 1 then least(s.attempts + 1, 32767) else s.retry_limit end
   where s.task_no = v_task_no and s.step_no = v_step_no;
  insert into tasker_history (task_no, step_no, at, from_state, to_state, attempt, detail)
  values (v_task_no, v_step_no, v_now, v_from, v_to, case when v_from = 2 then v_step.attempts when v_to = 2 then v_step.attempts + 1 end,
          case when v_to = 3 then jsonb_build_object('run_at', v_run_at) end);
  if v_to = 1 then
    insert into tasker_ready (rank, task_no, step_no, definition_id)
    select case when v_step.paused then 'infinity' else v_now - t.priority * interval '1 minute' end, v_task_no, v_step_no,
           case when v_step.paused or v_step.gated then -v_step.definition_id else v_step.definition_id end from tasker_task t where t.task_no = v_task_no;
    perform pg_notify('tasker_ready', '');
  elsif v_to = 2 then
    update tasker_task t set state = 2, started_at = coalesce(t.started_at, v_now) where t.task_no = v_task_no and t.state = 0;
    if found then
      insert into tasker_history (task_no, at, from_state, to_state) values (v_task_no, v_now, 0, 2);
    end if;
  elsif v_to = 3 then
    insert into tasker_delayed (run_at, task_no, step_no) values (v_run_at, v_task_no, v_step_no);
  end if;
  if v_from = 5 and v_to = 1 then
    perform tasker_recount_task(v_task_no);
  end if;
  perform pg_notify('tasker_news', '');
  return true;
end
$$;
