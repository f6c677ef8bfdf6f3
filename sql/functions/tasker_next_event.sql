-- tasker_next_event: the place of a reader right before the next event on record: what retention has dropped is not walked through number by number.
--   p_after  an event id, where the reader is     p_until  an event id up to which nothing is yet to appear, see tasker_event_horizon
--   returns an event id not before p_after; between the two there is no event. It is p_until at most where that is not before p_after
create or replace function tasker_next_event (p_after bigint, p_until bigint)
  returns bigint
  language sql stable
  set enable_seqscan = off   -- plans must not depend on statistics: the first row of an index is wanted
as $$
  select greatest(p_after, least(p_until, 2 * least(
    (select min(h.event_id) from tasker_history h where h.event_id >= (p_after + 1) / 2),
    (select min(c.event_no) from tasker_custom_event c where c.event_no >= (p_after + 1) / 2)) - 1))
$$;
