-- tasker_keep_objects: where the results lie that a worker is about to report for steps it holds. Each is in the store already.
--   moves  none     locks  the steps, until the transaction ends     fence  state, worker and attempt: what is late changes nothing
create or replace function tasker_keep_objects (
  p_worker int, p_task_nos bigint[], p_step_nos int[], p_attempts smallint[], p_keys text[], p_byte_counts bigint[]
)
  returns void
  language sql
  set enable_seqscan = off   -- plans must not depend on statistics: these few steps are a small part of the table
as $$
  with given as (
    select g.task_no, g.step_no, g.attempt, g.key, g.byte_count
      from unnest(p_task_nos, p_step_nos, p_attempts, p_keys, p_byte_counts) as g (task_no, step_no, attempt, key, byte_count)
  ),
  held as (
    select s.task_no, s.step_no, g.key, g.byte_count
      from given g
     cross join lateral (select k.task_no, k.step_no from tasker_step k
                          where k.task_no = g.task_no and k.step_no = g.step_no and k.state = 2 and k.worker_id = p_worker and k.attempts = g.attempt
                            for update offset 0) s
     order by s.task_no, s.step_no
  )
  insert into tasker_object (task_no, step_no, key, byte_count)
  select h.task_no, h.step_no, h.key, h.byte_count from held h
  on conflict (task_no, step_no) do update set key = excluded.key, byte_count = excluded.byte_count
$$;
