-- tasker_count_moves: the moves above p_after up to p_until are added to the roll-ups, in every grain, and what they led steps to is noted.
--   For tasker_roll_up alone, which holds the place.     locks  rows of the roll-ups, which nobody else writes but tasker_prune_rollups
create or replace function tasker_count_moves (p_after bigint, p_until bigint)
  returns void
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: these few moves are a small part of the tables
as $$
begin
  with bin as (
    -- of each minute first: few rows are left for the other grains
    select m.definition_id, m.step_no, m.state, tasker_span_begin(0, m.at) as minute, width_bucket(extract(epoch from m.took)::float8, tasker_bin_limits()) + 1 as number,
           count(*) filter (where not m.undone) as move_count, count(*) filter (where m.undone) as undone_count, count(m.took) as timed_count,
           coalesce(sum(m.took), '0') as took, coalesce(max(m.took), '0') as longest,
           count(*) filter (where m.timed_out) as timeout_count, count(*) filter (where m.crashed) as crash_count
      from tasker_measure_moves(p_after, p_until) m
     group by 1, 2, 3, 4, 5
  ),
  graded as (
    select b.definition_id, whose.step_no, b.state, grain.no as grain, tasker_span_begin(grain.no, b.minute) as begins_at, b.number,
           sum(b.move_count)::bigint as move_count, sum(b.undone_count)::bigint as undone_count, sum(b.timed_count)::bigint as timed_count, sum(b.took) as took,
           max(b.longest) as longest, sum(b.timeout_count)::bigint as timeout_count, sum(b.crash_count)::bigint as crash_count
      from bin b
     cross join generate_series(0, 3) as grain (no)
     cross join lateral unnest(case when b.step_no is null then array[null::int] else array[b.step_no, -1] end) as whose (step_no)
     group by 1, 2, 3, 4, 5, 6
  ),
  span as materialized (
    select g.definition_id, g.step_no, g.state, g.grain::smallint as grain, g.begins_at, sum(g.move_count)::bigint as move_count,
           sum(g.undone_count)::bigint as undone_count, sum(g.timed_count)::bigint as timed_count, sum(g.took) as took, max(g.longest) as longest,
           sum(g.timeout_count)::bigint as timeout_count, sum(g.crash_count)::bigint as crash_count,
           tasker_bins(array_agg(g.number) filter (where g.number is not null), array_agg(g.timed_count) filter (where g.number is not null)) as bins
      from graded g
     group by 1, 2, 3, 4, 5
  ),
  tasks as (
    insert into tasker_task_rollup as r (definition_id, grain, state, begins_at, move_count, undone_count, timed_count, took, longest, bins)
    select s.definition_id, s.grain, s.state, s.begins_at, s.move_count, s.undone_count, s.timed_count, s.took, s.longest, s.bins
      from span s where s.step_no is null
    on conflict (definition_id, grain, state, begins_at) do update
      set move_count = r.move_count + excluded.move_count, undone_count = r.undone_count + excluded.undone_count, timed_count = r.timed_count + excluded.timed_count,
          took = r.took + excluded.took, longest = greatest(r.longest, excluded.longest), bins = tasker_add_bins(r.bins, excluded.bins)
  )
  insert into tasker_step_rollup as r
    (definition_id, grain, state, step_no, begins_at, move_count, undone_count, timed_count, took, longest, timeout_count, crash_count, bins)
  select s.definition_id, s.grain, s.state, s.step_no, s.begins_at, s.move_count, s.undone_count, s.timed_count, s.took, s.longest, s.timeout_count, s.crash_count, s.bins
    from span s where s.step_no is not null
  on conflict (definition_id, grain, state, step_no, begins_at) do update
    set move_count = r.move_count + excluded.move_count, undone_count = r.undone_count + excluded.undone_count, timed_count = r.timed_count + excluded.timed_count,
        took = r.took + excluded.took, longest = greatest(r.longest, excluded.longest), timeout_count = r.timeout_count + excluded.timeout_count,
        crash_count = r.crash_count + excluded.crash_count, bins = tasker_add_bins(r.bins, excluded.bins);

  with last as materialized (
    select distinct on (h.task_no, h.step_no) h.task_no, h.step_no, h.from_state, h.to_state, coalesce((h.detail ->> 'run_at')::timestamptz, h.at) as since
      from tasker_history h
     where h.event_id > p_after and h.event_id <= p_until and h.step_no is not null and h.from_state is distinct from h.to_state
     order by h.task_no, h.step_no, h.event_id desc
  ),
  noted as (
    insert into tasker_rollup_wait as w (task_no, step_no, state, since)
    select l.task_no, l.step_no, l.to_state, l.since from last l
     where l.to_state in (1, 3) or l.to_state = 0 and l.from_state = 2
    on conflict (task_no, step_no) do update set state = excluded.state, since = excluded.since
  )
  delete from tasker_rollup_wait w using last l
   where w.task_no = l.task_no and w.step_no = l.step_no and not (l.to_state in (1, 3) or l.to_state = 0 and l.from_state = 2);
end
$$;
