-- tasker_post_deliveries: running steps of an engine wait for whoever gets the token.
--   returns a token for each that the engine still holds in that attempt
create or replace function tasker_post_deliveries (p_sender uuid, p_numbers bigint[], p_task_nos bigint[], p_step_nos int[], p_attempts smallint[])
  returns table (number bigint, token uuid)
  language sql
as $$
  insert into tasker_delivery as d (sender, number, worker_id, task_no, step_no, attempt, posted_at)
  select p_sender, given.number, s.worker_id, given.task_no, given.step_no, given.attempt, tasker_clock()
    from unnest(p_numbers, p_task_nos, p_step_nos, p_attempts) as given (number, task_no, step_no, attempt)
   cross join lateral (select k.worker_id from tasker_step k
                        where k.task_no = given.task_no and k.step_no = given.step_no and k.state = 2 and k.attempts = given.attempt offset 0) s
  returning d.number, d.token
$$;
