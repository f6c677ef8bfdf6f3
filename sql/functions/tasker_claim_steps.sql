-- tasker_claim_steps: leases up to p_want ready steps to one worker: the namespaces take turns, and within one the best rank is first.
--   p_definitions  the definitions the worker has handlers for; steps of others stay for other engines, and stand in nobody's way
--   moves  ready -> running, and the task pending -> running; before that, what tasker_wake_due moves
--   locks  as tasker_wake_due; then ready rows (claimed elsewhere: skipped), steps, tasks
--   raises WF003 when the worker's lease is over                 events task.started, step.started, and those of tasker_wake_due
create or replace function tasker_claim_steps (p_worker int, p_claim_no int, p_want int, p_definitions int[])
  returns table (task_no bigint, step_no int, definition_id int, attempt smallint)
  language plpgsql
as $$
#variable_conflict use_column
declare
  v_now timestamptz := tasker_clock();
  v_began timestamptz := clock_timestamp();
  v_lane int;    -- the first that has steps; mostly it is the only one
  v_rank timestamptz;   -- of its first step: what stood before it is dead rows, which a transaction that is open for long keeps
  v_no bigint;
  v_other int;
  v_picked tid[];
begin
  if not exists (select from tasker_worker w where w.worker_id = p_worker and w.lease_until > v_now) then
    raise exception 'the lease of worker % is over', p_worker using errcode = 'WF003';
  end if;
  if exists (select from tasker_delayed d where d.run_at <= v_now) then
    perform tasker_wake_due(1000);
  end if;
  if coalesce(current_setting('tasker.heads', true), '') <> '' then
    v_picked := tasker_pick_steps(p_definitions, p_want);
  else
    select first.lane, first.rank, first.ready_no, other.lane into v_lane, v_rank, v_no, v_other
      from (select r.definition_id as lane, r.rank, r.ready_no from tasker_ready r order by r.definition_id, r.rank, r.ready_no limit 1) first
      left join lateral (select r.definition_id as lane from tasker_ready r where r.definition_id > first.lane
                          order by r.definition_id, r.rank, r.ready_no limit 1) other on true;
    if v_lane is null or v_lane > 0 and v_other is null and v_lane <> all(p_definitions) then
      return;
    end if;
    if v_lane < 0 or v_other is not null or clock_timestamp() - v_began > interval '1 ms' then
      v_picked := tasker_pick_steps(p_definitions, p_want);
    end if;
  end if;
  return query
  with taken as (
    delete from tasker_ready r
     where r.ctid = any(case when v_picked is not null then v_picked
                             else array(select q.ctid from tasker_ready q where q.definition_id = v_lane and (q.rank, q.ready_no) >= (v_rank, v_no)
                                         order by q.rank, q.ready_no limit p_want for update skip locked) end)
    returning r.task_no, r.step_no
  ),
  claimed as (
    update tasker_step s
       set state = 2, worker_id = p_worker, started_at = v_now, attempts = s.attempts + 1
      from (select t.task_no, t.step_no from taken t where abs(t.task_no) = t.task_no) taken   -- see tasker_complete_batch on abs
     where s.task_no = taken.task_no and s.step_no = taken.step_no and case when s.state = 1 then true end
    returning s.task_no, s.step_no, s.definition_id, s.attempts
  ),
  started as (
    update tasker_task t
       set state = 2, started_at = coalesce(t.started_at, v_now)
      from (select distinct c.task_no from claimed c order by 1) first
     where t.task_no = first.task_no and case when t.state = 0 then true end
    returning t.task_no
  ),
  history as (
    insert into tasker_history (task_no, step_no, at, from_state, to_state, attempt, worker_id)
    select b.task_no, null::int, v_now, 0::smallint, 2::smallint, null::smallint, p_worker from started b
    union all
    select c.task_no, c.step_no, v_now, 1::smallint, 2::smallint, c.attempts, p_worker from claimed c
  ),
  claim as (
    insert into tasker_claim as k (worker_id, claim_no, task_nos, step_nos)
    select p_worker, p_claim_no, array_agg(c.task_no), array_agg(c.step_no) from claimed c having count(*) > 0
    on conflict (worker_id, claim_no) do update
      set task_nos = k.task_nos || excluded.task_nos, step_nos = k.step_nos || excluded.step_nos
  )
  select c.task_no, c.step_no, c.definition_id, c.attempts from claimed c;
end
$$;
