-- tasker_worker_steps: what a worker holds by the database's word; an engine that lost the reply of a call finds its leases again with it.
create or replace function tasker_worker_steps (p_worker int)
  returns table (task_no bigint, step_no int, definition_id int, attempt smallint, claim_no int)
  language sql stable
as $$
  select distinct on (s.task_no, s.step_no) s.task_no, s.step_no, s.definition_id, s.attempts, k.claim_no
    from tasker_claim k, unnest(k.task_nos, k.step_nos) as held (task_no, step_no), tasker_step s
   where k.worker_id = p_worker and s.task_no = held.task_no and s.step_no = held.step_no and s.state = 2 and s.worker_id = p_worker
   order by s.task_no, s.step_no, k.claim_no desc
$$;
