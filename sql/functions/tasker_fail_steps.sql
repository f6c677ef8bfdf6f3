-- tasker_fail_steps: attempts that ended badly: each goes into its back-off, or ends for good.
--   p_errors  one JSON object per step: {"type", "message", "code", "traceback", "retryable": bool, "delay": seconds or null}, and "uncharged": true
--             when what failed was neither the handler nor its data: the attempt is given back
--   moves  running -> retrying while attempts are left and the error is retryable, or when it is uncharged; -> cancelled when it was asked to stop; else -> failed
--   locks  queue rows of tasks to be counted anew, own steps and what can move in those tasks by (task_no, step_no), then as tasker_block_descendants
--   fence  state, worker and attempt
--   events step.failed, then step.retried when a retry is set; step.cancelled; task.failed | cancelled
create or replace function tasker_fail_steps (p_worker int, p_task_nos bigint[], p_step_nos int[], p_attempts smallint[], p_errors jsonb)
  returns void
  language plpgsql
as $$
declare
  v_lost record;
  v_step tasker_step;
  v_now timestamptz;
  v_run_at timestamptz;
  v_error jsonb;
  v_state smallint;
  v_uncharged boolean;
  v_recount bigint[];
  v_ended_tasks bigint[];
  v_ended_steps int[];
begin
  select array_agg(o.task_no), array_agg(o.step_no) into v_ended_tasks, v_ended_steps
    from rows from (unnest(p_task_nos), unnest(p_step_nos), jsonb_array_elements(p_errors)) as o (task_no, step_no, error)
   cross join lateral (select k.attempts, k.retry_limit, k.cancel_requested from tasker_step k
                        where k.task_no = o.task_no and k.step_no = o.step_no offset 0) s
   where s.cancel_requested
      or not coalesce((o.error ->> 'uncharged')::boolean, false) and (s.attempts >= s.retry_limit or not coalesce((o.error ->> 'retryable')::boolean, false));
  v_recount := tasker_recount_due(v_ended_tasks, v_ended_steps);
  perform tasker_hold_queues(v_recount);
  perform tasker_hold_steps(p_task_nos, p_step_nos, v_recount);
  v_ended_tasks := null;
  v_ended_steps := null;
  for v_lost in
    select o.task_no, o.step_no, o.attempt, o.error
      from rows from (unnest(p_task_nos), unnest(p_step_nos), unnest(p_attempts), jsonb_array_elements(p_errors)) as o (task_no, step_no, attempt, error)
     order by o.task_no, o.step_no
  loop
    select s.* into v_step from tasker_step s
     where s.task_no = v_lost.task_no and s.step_no = v_lost.step_no
       and s.state = 2 and s.worker_id = p_worker and s.attempts = v_lost.attempt;
    continue when not found;
    v_now := tasker_clock();
    v_error := v_lost.error - array['retryable', 'delay', 'uncharged'];
    v_uncharged := not v_step.cancel_requested and coalesce((v_lost.error ->> 'uncharged')::boolean, false);
    v_state := case when v_step.cancel_requested then 6
                    when v_uncharged or (v_lost.error ->> 'retryable')::boolean and v_step.attempts < v_step.retry_limit then 3 else 5 end;
    v_run_at := case when v_state = 3 then v_now + tasker_backoff(v_step.definition_id, coalesce(v_step.map_no, v_step.step_no), v_step.attempts, (v_lost.error ->> 'delay')::float8) end;
    update tasker_step s
       set state = v_state, attempts = s.attempts - v_uncharged::int, worker_id = null, error = v_error, finished_at = case when v_state <> 3 then v_now end
     where s.task_no = v_step.task_no and s.step_no = v_step.step_no;
    insert into tasker_history (task_no, step_no, at, from_state, to_state, attempt, worker_id, detail)
    values (v_step.task_no, v_step.step_no, v_now, 2, v_state, v_step.attempts, p_worker,
            v_error || case when v_state = 3 then jsonb_build_object('run_at', v_run_at) else '{}' end || case when v_uncharged then '{"uncharged": true}' else '{}' end::jsonb);
    if v_state = 3 then
      insert into tasker_delayed (run_at, task_no, step_no) values (v_run_at, v_step.task_no, v_step.step_no);
    else
      v_ended_tasks := v_ended_tasks || v_step.task_no;
      v_ended_steps := v_ended_steps || v_step.step_no;
    end if;
  end loop;
  if v_ended_tasks is not null then
    perform tasker_block_descendants(v_ended_tasks, v_ended_steps);
  end if;
end
$$;
