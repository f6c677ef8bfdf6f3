-- tasker_release_steps: an engine hands back steps it will not run; the attempt is not charged.
--   moves  running -> ready (or cancelled when it was asked to stop)     locks  own steps by (task_no, step_no)
--   fence  state, worker and attempt     events none; the history keeps the move
create or replace function tasker_release_steps (p_worker int, p_task_nos bigint[], p_step_nos int[], p_attempts smallint[])
  returns int
  language plpgsql
as $$
declare
  v_now timestamptz := tasker_clock();
  v_held record;
  v_step tasker_step;
  v_released int := 0;
begin
  for v_held in
    select h.task_no, h.step_no, h.attempt from unnest(p_task_nos, p_step_nos, p_attempts) as h (task_no, step_no, attempt) order by 1, 2
  loop
    update tasker_step s
       set state = case when s.cancel_requested then 6 else 1 end, worker_id = null,
           attempts = s.attempts - (not s.cancel_requested)::int, finished_at = case when s.cancel_requested then v_now end
     where s.task_no = v_held.task_no and s.step_no = v_held.step_no and s.state = 2 and s.worker_id = p_worker and s.attempts = v_held.attempt
    returning s.* into v_step;
    continue when not found;
    v_released := v_released + 1;
    insert into tasker_history (task_no, step_no, at, from_state, to_state, attempt, worker_id)
    values (v_step.task_no, v_step.step_no, v_now, 2, v_step.state, v_held.attempt, p_worker);
    if v_step.state = 6 then
      perform tasker_block_descendants(v_step.task_no, v_step.step_no);
    else
      insert into tasker_ready (rank, task_no, step_no, definition_id)
      select coalesce(v_step.started_at, v_now) - t.priority * interval '1 minute', v_step.task_no, v_step.step_no, v_step.definition_id
        from tasker_task t where t.task_no = v_step.task_no;
    end if;
  end loop;
  if v_released > 0 then
    perform pg_notify('tasker_ready', '');
  end if;
  return v_released;
end
$$;
