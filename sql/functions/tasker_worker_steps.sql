-- tasker_worker_steps: what a worker holds by the database's word; an engine that lost the reply of a call finds its leases again with it.
create or replace function tasker_worker_steps (p_worker int)
  returns table (task_no bigint, step_no int, definition_id int, attempt smallint, claim_no int)
  language sql stable
as $$
  select distinct on (s.task_no, s.step_no) s.task_no, s.step_no, s.definition_id, s.attempts, c.claim_no
    from tasker_claim c, unnest(c.task_nos, c.step_nos) as held (task_no, step_no)
   cross join lateral (select k.task_no, k.step_no, k.definition_id, k.attempts from tasker_step k
                        where k.task_no = held.task_no and k.step_no = held.step_no and k.state = 2 and k.worker_id = p_worker offset 0) s
   where c.worker_id = p_worker
   order by s.task_no, s.step_no, c.claim_no desc
$$;
