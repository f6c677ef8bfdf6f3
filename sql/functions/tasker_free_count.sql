-- tasker_free_count: how many more may go on in one line now, by its places; a place not yet started counts within the period.
create or replace function tasker_free_count (p_limit tasker_limit, p_key text)
  returns int
  language sql
  stable
as $$
  select least(p_limit.at_once - count(*) filter (where not h.ended),
               p_limit.per_period - count(*) filter (where coalesce(h.started_at, tasker_clock()) > tasker_clock() - p_limit.period), 2147483647)::int
    from tasker_place h where h.limit_id = p_limit.limit_id and h.key = p_key
$$;
