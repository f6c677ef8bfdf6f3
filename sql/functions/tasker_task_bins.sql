-- tasker_task_bins: how long the completed tasks of these definitions ran, as counts by the number of their bin; else as tasker_task_figures.
create or replace function tasker_task_bins (p_definitions int[], p_grains int[], p_froms timestamptz[], p_tos timestamptz[], p_slot interval)
  returns table (definition_id int, slot timestamptz, number int, count bigint)
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: what is asked for is a small part of the table
as $$
#variable_conflict use_column
begin
  return query
  select r.definition_id, r.slot, bin.number::int, sum(bin.count)::bigint
    from unnest(p_definitions) as d (definition_id)
   cross join unnest(p_grains, p_froms, p_tos) as span (grain, from_at, to_at)
   cross join lateral (
     select k.definition_id, date_bin(p_slot, k.begins_at, '2001-01-01 00:00:00Z') as slot, k.bins
       from tasker_task_rollup k
      where k.definition_id = d.definition_id and k.grain = span.grain and k.state = 4 and k.begins_at >= span.from_at and k.begins_at < span.to_at offset 0) r
   cross join lateral unnest(r.bins) with ordinality as bin (count, number)
   where bin.count > 0
   group by grouping sets ((r.slot, bin.number), (r.definition_id, bin.number));
end
$$;
