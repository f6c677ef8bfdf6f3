-- tasker_bins: counts by the number of their bin, as the array that roll-ups keep; no number may come twice.
create or replace function tasker_bins (p_numbers int[], p_counts bigint[])
  returns bigint[]
  language sql immutable parallel safe
as $$
  select coalesce(array_agg(coalesce(c.count, 0) order by n.number), '{}')
    from generate_series(1, (select max(m.number) from unnest(p_numbers) as m (number))) as n (number)
    left join unnest(p_numbers, p_counts) as c (number, count) using (number)
$$;
