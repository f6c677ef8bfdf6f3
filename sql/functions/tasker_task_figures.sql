-- tasker_task_figures: how tasks of these definitions ended in the given spans of the roll-ups, by slot of time and by definition.
--   p_grains, p_froms, p_tos  the spans: those of this grain that begin in [from, to)     p_slot  how long a slot is, counted from 2001-01-01 UTC, a Monday
--   returns every figure twice: once with its slot and without a definition, once the other way round.
--           net_count  moves into the state that were not led out of it since     took, longest  of the timed_count of which it is known
create or replace function tasker_task_figures (p_definitions int[], p_grains int[], p_froms timestamptz[], p_tos timestamptz[], p_slot interval)
  returns table (definition_id int, slot timestamptz, state smallint, net_count bigint, timed_count bigint, took interval, longest interval)
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: what is asked for is a small part of the table
as $$
#variable_conflict use_column
begin
  return query
  select r.definition_id, r.slot, r.state, sum(r.move_count - r.undone_count)::bigint, sum(r.timed_count)::bigint, sum(r.took), max(r.longest)
    from unnest(p_definitions) as d (definition_id)
   cross join unnest(p_grains, p_froms, p_tos) as span (grain, from_at, to_at)
   cross join lateral (
     select k.definition_id, date_bin(p_slot, k.begins_at, '2001-01-01 00:00:00Z') as slot, k.state, k.move_count, k.undone_count, k.timed_count, k.took, k.longest
       from tasker_task_rollup k
      where k.definition_id = d.definition_id and k.grain = span.grain and k.begins_at >= span.from_at and k.begins_at < span.to_at offset 0) r
   group by grouping sets ((r.slot, r.state), (r.definition_id, r.state));
end
$$;
