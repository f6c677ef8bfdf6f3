-- tasker_line_due: when the next look at a line is worth while: now, when a place was left free; when the period has gone on; infinity: when a place is given back.
create or replace function tasker_line_due (p_limit tasker_limit, p_key text, p_free int)
  returns timestamptz
  language sql
  stable
as $$
  select case
    when not exists (select from tasker_waiting w where w.limit_id = p_limit.limit_id and w.key = p_key)
      then coalesce(min(h.started_at) filter (where h.ended) + p_limit.period, 'infinity')   -- to be tidied up
    when p_free > 0 then tasker_clock()
    when count(*) filter (where not h.ended) >= p_limit.at_once then 'infinity'
    -- who is let in but has not begun will hold its place for a period from then
    else coalesce(least(min(h.started_at) filter (where h.started_at > tasker_clock() - p_limit.period) + p_limit.period, case when bool_or(h.started_at is null) then tasker_clock() + interval '1 second' end), 'infinity') end
    from tasker_place h where h.limit_id = p_limit.limit_id and h.key = p_key
$$;
