-- tasker_measure_moves: what the moves of the history above p_after up to p_until say to the roll-ups, with how long the state before had lasted.
--   returns step_no      the template's; null: the task itself
--           state, at    what it moved into and when. With undone: when it had moved into a state that one of these moves led it out of
--           took         the wait for an engine (state 2), the attempt (3 to 6, when it ran before), the task since its first step; null: not known
--   A step waits since the move that led it into the queue. Where no move tells: since its last parent ended, its map step made it, its task was made or due.
--   A map step that starts again because its items are done, and items that a retry lays aside, move nothing.
-- Each look-up is a lateral one by key: a plan that joins would depend on what was analysed, and when.
create or replace function tasker_measure_moves (p_after bigint, p_until bigint)
  returns table (definition_id int, step_no int, state smallint, at timestamptz, took interval, undone boolean, timed_out boolean, crashed boolean)
  language plpgsql stable
  set enable_seqscan = off
as $$
#variable_conflict use_column
begin
  return query
  with moved as materialized (
    select h.event_id, h.task_no, h.step_no, h.at, h.from_state, h.to_state, h.attempt, h.detail, lag(h.from_state) over own as prior_from,
           lag(h.to_state) over own as prior_state, lag(coalesce((h.detail ->> 'run_at')::timestamptz, h.at)) over own as prior_at
      from tasker_history h
     where h.event_id > p_after and h.event_id <= p_until and h.from_state is distinct from h.to_state
    window own as (partition by h.task_no, h.step_no order by h.event_id)
  ),
  whole as materialized (
    select t.* from (select distinct m.task_no from moved m) w
     cross join lateral (select k.task_no, k.definition_id, k.created_at, k.run_at, k.started_at, k.item_count from tasker_task k where k.task_no = w.task_no offset 0) t
  ),
  task as materialized (
    select m.event_id, m.task_no, m.at, m.from_state, m.to_state, t.definition_id,
           case when m.to_state = 2 then greatest(t.created_at, t.run_at) else t.started_at end as since
      from moved m join whole t using (task_no)
     where m.step_no is null
  ),
  step as materialized (
    -- the row is looked up where the moves themselves do not say: of an item, and when an attempt began that ends here. The time of a map step is that of its row
    select m.*, t.definition_id, coalesce(s.map_no, m.step_no) as template_no, s.map_no,
           case when begins_here.yes then m.prior_at when s.attempts = m.attempt and s.started_at <= m.at then s.started_at end as started_at,
           coalesce(m.prior_state, noted.state) as led_to, coalesce(m.prior_at, noted.since) as led_at, coalesce(m.prior_from = 2, noted.state is not null) as led_from_running
      from moved m join whole t using (task_no)
     cross join lateral (select m.prior_state is not distinct from 2 and t.item_count = 0 as yes) begins_here
      left join lateral (select k.map_no, k.attempts, k.started_at from tasker_step k
                          where (m.step_no < 0 or m.from_state = 2 and m.to_state between 3 and 6 and not begins_here.yes)
                            and k.task_no = m.task_no and k.step_no = m.step_no offset 0) s on true
      left join lateral (select w.state, w.since from tasker_rollup_wait w
                          where w.task_no = m.task_no and w.step_no = m.step_no and m.to_state = 2 and m.prior_state is null offset 0) noted on true
     where m.step_no is not null
  ),
  made as materialized (
    select m.task_no, m.step_no, max(m.at) as at from moved m where m.from_state = 2 and m.to_state = 0 group by 1, 2
  ),
  unled as materialized (
    -- starts of steps that no move had led into the queue
    select m.event_id, m.task_no, m.map_no, p.parents from step m
     cross join lateral (select d.parents from tasker_template d where d.definition_id = m.definition_id and d.step_no = m.template_no offset 0) p
     where m.to_state = 2 and m.from_state = 1 and coalesce(m.led_to, 0) = 0
  ),
  waited as materialized (
    select u.event_id, coalesce(now_made.at, noted.since) as since
      from unled u left join made now_made on now_made.task_no = u.task_no and now_made.step_no = u.map_no
      left join lateral (select w.since from tasker_rollup_wait w where w.task_no = u.task_no and w.step_no = u.map_no and w.state = 0 offset 0) noted on true
     where u.map_no is not null
    union all
    select u.event_id, greatest(t.created_at, t.run_at, parents.ended_at)
      from unled u
     cross join lateral (select k.created_at, k.run_at from tasker_task k where k.task_no = u.task_no offset 0) t
     cross join lateral (
       select max(coalesce(k.finished_at, 'infinity')) as ended_at
         from unnest(u.parents) as parent (no)
         left join lateral (select s.finished_at from tasker_step s where s.task_no = u.task_no and s.step_no = parent.no offset 0) k on true) parents
     where u.map_no is null
  ),
  earlier as materialized (
    -- when attempts began whose steps have been started again since
    select m.event_id, max(b.at) as since
      from step m
     cross join lateral (select h.at, h.event_id, h.step_no, h.attempt, h.to_state from tasker_history h where h.task_no = m.task_no offset 0) b
     where m.from_state = 2 and m.to_state between 3 and 6 and m.started_at is null
       and b.step_no = m.step_no and b.to_state = 2 and b.attempt = m.attempt and b.event_id < m.event_id
     group by 1
  )
  select t.definition_id, null::int, t.to_state, t.at, case when t.since <= t.at then t.at - t.since end, false, false, false
    from task t where t.to_state in (4, 5, 6, 8) or t.to_state = 2 and t.from_state = 0
  union all
  select m.definition_id, m.template_no, m.to_state, m.at, case when began.since <= m.at then m.at - began.since end, false,
         coalesce(m.detail ->> 'type' = 'timeout', false), coalesce(m.detail ->> 'type' = 'worker_crashed', false)
    from step m
    left join waited w using (event_id)
    left join earlier e using (event_id)
   cross join lateral (
     select case when m.to_state = 2 then case m.from_state when 0 then m.at when 1 then coalesce(w.since, m.led_at) end
                 when m.from_state = 2 and m.to_state between 3 and 6 then coalesce(m.started_at, e.since) end as since) began
   where m.to_state >= 2 and not (m.to_state = 7 and coalesce(m.detail ? 'reset', false))
     and not (m.to_state = 2 and coalesce(m.led_to = 0 and m.led_from_running, false))
  union all
  select u.definition_id, u.template_no, u.from_state, ended.at, null, true, false, false
    from (select t.event_id, t.task_no, null::int as step_no, null::int as template_no, t.definition_id, t.from_state from task t where t.from_state in (4, 5, 6, 8)
          union all
          select m.event_id, m.task_no, m.step_no, m.template_no, m.definition_id, m.from_state from step m where m.from_state in (4, 5, 6, 7, 8)) u
   cross join lateral (
     select (array_agg(h.at order by h.event_id desc))[1] as at from tasker_history h
      where h.task_no = u.task_no
        and case when h.step_no is not distinct from u.step_no and h.to_state = u.from_state and h.from_state <> h.to_state and h.event_id < u.event_id then true end) ended
   where ended.at is not null;
end
$$;
