-- tasker_release_steps: an engine hands back steps it will not run; the attempt is not charged.
--   moves  running -> ready (or cancelled when it was asked to stop)     locks  as tasker_fail_steps
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
  v_recount bigint[];
  v_ended_tasks bigint[];
  v_ended_steps int[];
begin
  select array_agg(h.task_no), array_agg(h.step_no) into v_ended_tasks, v_ended_steps
    from unnest(p_task_nos, p_step_nos) as h (task_no, step_no)
   cross join lateral (select k.cancel_requested from tasker_step k where k.task_no = h.task_no and k.step_no = h.step_no offset 0) s
   where s.cancel_requested;
  v_recount := tasker_recount_due(v_ended_tasks, v_ended_steps);
  perform tasker_hold_queues(v_recount);
  perform tasker_hold_steps(p_task_nos, p_step_nos, v_recount);
  v_ended_tasks := null;
  v_ended_steps := null;
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
      v_ended_tasks := v_ended_tasks || v_step.task_no;
      v_ended_steps := v_ended_steps || v_step.step_no;
    else
      insert into tasker_ready (rank, task_no, step_no, definition_id)
      select case when v_step.paused then 'infinity' else coalesce(v_step.started_at, v_now) - t.priority * interval '1 minute' end,
             v_step.task_no, v_step.step_no, case when v_step.paused or v_step.gated then -v_step.definition_id else v_step.definition_id end
        from tasker_task t where t.task_no = v_step.task_no;
    end if;
  end loop;
  if v_ended_tasks is not null then
    perform tasker_block_descendants(v_ended_tasks, v_ended_steps);
  end if;
  if v_released > 0 then
    perform pg_notify('tasker_ready', '');
  end if;
  return v_released;
end
$$;
