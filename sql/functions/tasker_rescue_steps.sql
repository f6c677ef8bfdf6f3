-- tasker_rescue_steps: takes back every step that an engine with an expired lease still holds, found by its claims.
--   One whose lease is renewed, or just being renewed, keeps them; one that has signed off has none to keep.
--   moves  as tasker_fail_steps with error worker_crashed and no wait     locks  the engine's row and claims (rescued elsewhere: skipped), then steps
--   returns how many steps it found
create or replace function tasker_rescue_steps (p_worker int)
  returns int
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_nos bigint[];
  v_step_nos int[];
  v_attempts smallint[];
  v_claims int[];
begin
  -- a renewal that is under way holds the row, and one that comes later finds the lease over, as the row is ours
  perform from tasker_worker w where w.worker_id = p_worker and w.lease_until <= tasker_clock() for update skip locked;
  if not found and exists (select from tasker_worker w where w.worker_id = p_worker) then
    return 0;
  end if;
  select array_agg(c.claim_no) into v_claims
    from (select k.claim_no from tasker_claim k where k.worker_id = p_worker for update skip locked) c;
  select array_agg(s.task_no order by s.task_no, s.step_no), array_agg(s.step_no order by s.task_no, s.step_no),
         array_agg(s.attempts order by s.task_no, s.step_no)
    into v_task_nos, v_step_nos, v_attempts
    from (select distinct x.task_no, x.step_no
            from tasker_claim k, unnest(k.task_nos, k.step_nos) as x (task_no, step_no)
           where k.worker_id = p_worker and k.claim_no = any(v_claims)) held
   cross join lateral (select k.task_no, k.step_no, k.attempts from tasker_step k
                        where k.task_no = held.task_no and k.step_no = held.step_no and k.state = 2 and k.worker_id = p_worker offset 0) s;
  if v_task_nos is not null then
    perform tasker_fail_steps(p_worker, v_task_nos, v_step_nos, v_attempts,
      (select jsonb_agg(jsonb_build_object('type', 'worker_crashed', 'message', 'the engine that ran this step died', 'code', null,
                                           'retryable', true, 'delay', 0)) from unnest(v_task_nos)));
    perform pg_notify('tasker_ready', '');
  end if;
  delete from tasker_claim k where k.worker_id = p_worker and k.claim_no = any(v_claims);
  return coalesce(cardinality(v_task_nos), 0);
end
$$;
