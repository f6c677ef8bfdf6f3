-- tasker_update_step_status: one move of one step, by hand or by another program; compare and set.
--   It records the move only: tasker_resolve_dependencies then unlocks the children and settles the task.
--   moves  pending -> ready, running when no parent is open; ready, retrying -> running; running -> completed, failed, ready; failed -> ready;
--          pending, ready, retrying, running -> cancelled; pending, ready, retrying, failed -> skipped, resolved
--   returns true; false when the step was not in p_from_state
--   locks  queue rows, then the step     raises WF001 unknown step, WF002 for a move that does not exist
create or replace function tasker_update_step_status (p_step_id bigint, p_from_state text, p_to_state text)
  returns boolean
  language plpgsql
as $$
declare
  v_now timestamptz := tasker_clock();
  v_from smallint := tasker_state_code(p_from_state);
  v_to smallint := tasker_state_code(p_to_state);
  v_step tasker_step;
begin
  if not coalesce(tasker_move_exists(v_from, v_to), false) then
    raise exception 'a step cannot move from "%" to "%"', p_from_state, p_to_state using errcode = 'WF002';
  end if;
  select s.* into v_step from tasker_step s
   where s.task_no = p_step_id / 1048576 and s.step_no = (p_step_id % 1048576)::int;
  if not found then
    raise exception 'there is no step %', p_step_id using errcode = 'WF001';
  end if;
  if v_step.state = v_from then
    v_step := tasker_take_step(v_step.task_no, v_step.step_no);
  end if;
  if v_step.state <> v_from then
    return false;
  end if;
  if v_from = 0 and v_to in (1, 2) and v_step.pending > 0 then
    raise exception 'the step waits for % of its parents', v_step.pending using errcode = 'WF002';
  end if;
  update tasker_step s
     set state = v_to, worker_id = case when v_to = 2 then 0 end, attempts = s.attempts + (v_to = 2)::int,
         started_at = case when v_to = 2 then v_now else s.started_at end,
         finished_at = case when v_to in (4, 5, 6, 7, 8) then v_now end,
         retry_limit = case when v_from = 5 and v_to = 1 then s.attempts + 1 else s.retry_limit end
   where s.task_no = v_step.task_no and s.step_no = v_step.step_no;
  insert into tasker_history (task_no, step_no, at, from_state, to_state, attempt)
  values (v_step.task_no, v_step.step_no, v_now, v_from, v_to, case when v_from = 2 then v_step.attempts when v_to = 2 then v_step.attempts + 1 end);
  if v_to = 1 then
    insert into tasker_ready (rank, task_no, step_no, definition_id)
    select v_now - t.priority * interval '1 minute', v_step.task_no, v_step.step_no, v_step.definition_id
      from tasker_task t where t.task_no = v_step.task_no;
    perform pg_notify('tasker_ready', '');
  elsif v_to = 2 then
    update tasker_task t set state = 2, started_at = coalesce(t.started_at, v_now) where t.task_no = v_step.task_no and t.state = 0;
    if found then
      insert into tasker_history (task_no, at, from_state, to_state) values (v_step.task_no, v_now, 0, 2);
    end if;
  end if;
  perform pg_notify('tasker_news', '');
  return true;
end
$$;
