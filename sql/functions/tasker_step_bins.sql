-- tasker_step_bins: how long steps waited in the queue (state 2) and how long their completed attempts took (state 4), as counts by the number of their bin.
--   p_definitions, p_step_nos  the steps, in pairs; step -1 is all steps of the definition together     p_grains, p_froms, p_tos  as tasker_task_figures
create or replace function tasker_step_bins (p_definitions int[], p_step_nos int[], p_grains int[], p_froms timestamptz[], p_tos timestamptz[])
  returns table (definition_id int, step_no int, state smallint, number int, count bigint)
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: what is asked for is a small part of the table
as $$
#variable_conflict use_column
begin
  return query
  select d.definition_id, d.step_no, r.state, bin.number::int, sum(bin.count)::bigint
    from unnest(p_definitions, p_step_nos) as d (definition_id, step_no)
   cross join unnest(p_grains, p_froms, p_tos) as span (grain, from_at, to_at)
   cross join (values (2), (4)) as state (no)
   cross join lateral (
     select k.state, k.bins from tasker_step_rollup k
      where k.definition_id = d.definition_id and k.grain = span.grain and k.state = state.no and k.step_no = d.step_no
        and k.begins_at >= span.from_at and k.begins_at < span.to_at offset 0) r
   cross join lateral unnest(r.bins) with ordinality as bin (count, number)
   where bin.count > 0
   group by 1, 2, 3, 4;
end
$$;
