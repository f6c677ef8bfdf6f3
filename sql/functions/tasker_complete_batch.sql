-- tasker_complete_batch: many steps end well in one statement; the core of the engine's speed.
--   p_task_nos, p_step_nos, p_attempts, p_results  one entry per step, sorted by task and step; results is one JSON array
--   p_want  how many unlocked children the worker takes on at once: they go straight to running, without standing in the queue
--   moves  running -> completed, pending -> running | ready | skipped, task -> its final state when its last counted step has ended
--   locks  own steps, then children by (task_no, step_no), then tasks by task_no; never another order: where a child is skipped, its own
--          children are locked before the tasks, so the tasks are counted off by a second statement
--   fence  a step not running under this worker in this attempt is left alone and its children too
--   events step.completed, step.started, step.skipped, task.completed | failed | cancelled
-- Plans must not depend on statistics: every join has to be driven by the small side through the primary key. So volatile columns stand
-- inside CASE, and comparisons that are always true (abs(x) = x) make the planner expect one row of what is in fact a few hundred.
create or replace function tasker_complete_batch
  (p_worker int, p_claim_no int, p_task_nos bigint[], p_step_nos int[], p_attempts smallint[], p_results jsonb, p_want int)
  returns table (task_no bigint, step_no int, definition_id int, attempt smallint)
  language plpgsql
as $$
#variable_conflict use_column
declare
  v_offset interval := tasker_clock() - clock_timestamp();
  v_handed_tasks bigint[];
  v_handed_steps int[];
  v_handed_definitions int[];
  v_handed_attempts smallint[];
  v_skipped_tasks bigint[];
  v_skipped_steps int[];
  v_counted_tasks bigint[];
begin
  with outcome as materialized (
    select o.task_no, o.step_no, o.attempt, o.result
      from rows from (unnest(p_task_nos), unnest(p_step_nos), unnest(p_attempts), jsonb_array_elements(p_results))
        as o (task_no, step_no, attempt, result)
     where abs(o.attempt) = o.attempt
  ),
  ended as (
    update tasker_step s
       set state = 4, result = outcome.result, error = null, worker_id = null, finished_at = clock_timestamp() + v_offset
      from outcome
     where s.task_no = outcome.task_no and s.step_no = outcome.step_no
       and case when s.state = 2 and s.worker_id = p_worker and s.attempts = outcome.attempt then true end
    returning s.task_no, s.step_no, s.attempts, s.children, s.counted, s.finished_at
  ),
  child as (
    select x.task_no, x.step_no, x.parents_done, row_number() over (order by x.task_no, x.step_no) as place
      from (select e.task_no, c.step_no, count(*)::int as parents_done
              from ended e, unnest(e.children) as c (step_no) group by 1, 2 having abs(count(*)) = count(*)) x
  ),
  unlocked as (
    update tasker_step s
       set pending = s.pending - child.parents_done,
           state = case when s.pending <> child.parents_done or s.state <> 0 then s.state
                        when s.bypass then 7 when child.place <= p_want and not (s.paused or s.gated) then 2 else 1 end,
           worker_id = case when s.pending <> child.parents_done or s.state <> 0 or s.bypass or s.paused or s.gated or child.place > p_want then s.worker_id else p_worker end,
           started_at = case when s.pending <> child.parents_done or s.state <> 0 or s.bypass or s.paused or s.gated or child.place > p_want then s.started_at
                             else clock_timestamp() + v_offset end,
           finished_at = case when s.pending = child.parents_done and s.state = 0 and s.bypass then clock_timestamp() + v_offset else s.finished_at end,
           attempts = case when s.pending <> child.parents_done or s.state <> 0 or s.bypass or s.paused or s.gated or child.place > p_want then s.attempts else s.attempts + 1 end
      from child
     where s.task_no = child.task_no and s.step_no = child.step_no
    returning s.task_no, s.step_no, s.definition_id, s.paused, s.gated, s.attempts, s.started_at, s.finished_at,
              case when s.pending = 0 and s.state in (1, 2, 7) and (s.state <> 2 or s.worker_id = p_worker) and (s.state <> 7 or s.bypass and not s.passed_over) then s.state end as state
  ),
  ready as (
    insert into tasker_ready (rank, task_no, step_no, definition_id)
    select case when u.paused then 'infinity' else clock_timestamp() + v_offset - (select t.priority from tasker_task t where t.task_no = u.task_no) * interval '1 minute' end,
           u.task_no, u.step_no, case when u.paused or u.gated then -u.definition_id else u.definition_id end
      from unlocked u where u.state = 1
  ),
  counted as (
    select e.task_no, count(*)::int as ended from ended e where e.counted and not exists (select from unlocked u where u.state = 7) group by 1 order by 1
  ),
  task as (
    update tasker_task t
       set remaining = t.remaining - counted.ended,
           state = case when t.remaining <> counted.ended then t.state
                        when t.cancel_requested_at is not null then 6 when t.failed_count > 0 then 5 when t.cancelled_count > 0 then 6 else 4 end,
           finished_at = case when t.remaining = counted.ended then clock_timestamp() + v_offset else t.finished_at end
      from counted
     where t.task_no = counted.task_no
    returning t.task_no, t.state, t.remaining, t.finished_at
  ),
  history as (
    insert into tasker_history (task_no, step_no, at, from_state, to_state, attempt, worker_id)
    select e.task_no, e.step_no, e.finished_at, 2::smallint, 4::smallint, e.attempts, p_worker from ended e
    union all
    select u.task_no, u.step_no, coalesce(u.finished_at, u.started_at), 0::smallint, u.state, case when u.state = 2 then u.attempts end,
           case when u.state = 2 then p_worker end
      from unlocked u where u.state in (2, 7)
    union all
    select t.task_no, null::int, t.finished_at, 2::smallint, t.state, null::smallint, p_worker from task t where t.remaining = 0
  ),
  claim as (
    insert into tasker_claim (worker_id, claim_no, task_nos, step_nos)
    select p_worker, p_claim_no, array_agg(u.task_no), array_agg(u.step_no) from unlocked u where u.state = 2 having count(*) > 0
  )
  select array_agg(u.task_no) filter (where u.state = 2), array_agg(u.step_no) filter (where u.state = 2),
         array_agg(u.definition_id) filter (where u.state = 2), array_agg(u.attempts) filter (where u.state = 2),
         array_agg(u.task_no) filter (where u.state = 7), array_agg(u.step_no) filter (where u.state = 7),
         case when bool_or(u.state = 7) then (select array_agg(e.task_no) from ended e where e.counted) end
    into v_handed_tasks, v_handed_steps, v_handed_definitions, v_handed_attempts, v_skipped_tasks, v_skipped_steps, v_counted_tasks
    from unlocked u;
  if v_skipped_tasks is not null then
    perform tasker_count_off(v_counted_tasks || tasker_unlock_children(v_skipped_tasks, v_skipped_steps), p_worker);
  end if;
  return query select * from unnest(v_handed_tasks, v_handed_steps, v_handed_definitions, v_handed_attempts);
end
$$;
