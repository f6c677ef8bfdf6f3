-- tasker_step_figures: what steps moved into, of the states from running to cancelled, in the given spans of the roll-ups, and how long the state before had lasted.
--   p_definitions, p_step_nos  the steps, in pairs; step -1 is all steps of the definition together     p_grains, p_froms, p_tos  as tasker_task_figures
create or replace function tasker_step_figures (p_definitions int[], p_step_nos int[], p_grains int[], p_froms timestamptz[], p_tos timestamptz[])
  returns table (definition_id int, step_no int, state smallint, net_count bigint, move_count bigint, timed_count bigint, took interval, longest interval,
                 timeout_count bigint, crash_count bigint)
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: what is asked for is a small part of the table
as $$
#variable_conflict use_column
begin
  return query
  select d.definition_id, d.step_no, r.state, sum(r.move_count - r.undone_count)::bigint, sum(r.move_count)::bigint, sum(r.timed_count)::bigint, sum(r.took),
         max(r.longest), sum(r.timeout_count)::bigint, sum(r.crash_count)::bigint
    from unnest(p_definitions, p_step_nos) as d (definition_id, step_no)
   cross join unnest(p_grains, p_froms, p_tos) as span (grain, from_at, to_at)
   cross join generate_series(2, 6) as state (no)
   cross join lateral (
     select k.state, k.move_count, k.undone_count, k.timed_count, k.took, k.longest, k.timeout_count, k.crash_count
       from tasker_step_rollup k
      where k.definition_id = d.definition_id and k.grain = span.grain and k.state = state.no and k.step_no = d.step_no
        and k.begins_at >= span.from_at and k.begins_at < span.to_at offset 0) r
   group by 1, 2, 3;
end
$$;
