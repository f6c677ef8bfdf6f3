-- tasker_count_failures: the failures of steps among the moves above p_after up to p_until are counted in their groups, by the hour and ever.
-- needs: tasker_error_signature, tasker_failure_key, tasker_span_begin
--   For tasker_roll_up alone, which holds the place.     locks  rows of the roll-up, which nobody else writes but tasker_prune_rollups
--   An item that a retry of its map step has laid aside by then is not counted: nothing tells any more of which step it was.
create or replace function tasker_count_failures (p_after bigint, p_until bigint)
  returns void
  language sql
  set enable_seqscan = off   -- plans must not depend on statistics: these few moves are a small part of the tables
as $$
  with failed as materialized (
    -- what somebody moved by hand has no detail of its own
    select tasker_failure_key(d.namespace, d.name, p.name, tasker_error_signature(coalesce(h.detail, s.error))) as failure, h.at
      from tasker_history h
     cross join lateral (select k.definition_id, coalesce(k.map_no, k.step_no) as template_no, k.error from tasker_step k
                          where k.task_no = h.task_no and k.step_no = h.step_no offset 0) s
     cross join lateral (select k.namespace, k.name from tasker_definition k where k.definition_id = s.definition_id offset 0) d
     cross join lateral (select k.name from tasker_template k where k.definition_id = s.definition_id and k.step_no = s.template_no offset 0) p
     where h.event_id > p_after and h.event_id <= p_until and h.to_state = 5 and h.from_state is distinct from 5 and h.step_no is not null
  )
  insert into tasker_failure_rollup as r (failure, begins_at, fail_count, first_at, last_at)
  select f.failure, span.begins_at, count(*), min(f.at), max(f.at)
    from failed f cross join lateral (values ('-infinity'::timestamptz), (tasker_span_begin(1, f.at))) as span (begins_at)
   group by 1, 2
  on conflict (failure, begins_at) do update
    set fail_count = r.fail_count + excluded.fail_count, first_at = least(r.first_at, excluded.first_at), last_at = greatest(r.last_at, excluded.last_at)
$$;
