-- tasker_add_bins: the counts of both, bin by bin.
create or replace function tasker_add_bins (p_bins bigint[], p_others bigint[])
  returns bigint[]
  language sql immutable parallel safe
as $$
  select coalesce(array_agg(coalesce(b.count, 0) + coalesce(b.other, 0) order by b.number), '{}')
    from unnest(p_bins, p_others) with ordinality as b (count, other, number)
$$;
