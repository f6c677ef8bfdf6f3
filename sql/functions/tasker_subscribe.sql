-- tasker_subscribe: a subscriber has its place in the events: where it was, or, when it is new, now or before the first that is still on record.
--   moves, events  none     locks  none
--   Below what the roll-ups have counted nothing is yet to appear; what is not counted yet may have an event of a transaction under way before the first
--   that is seen, and is read from its beginning. Retention waits for the roll-ups, so nothing that it dropped is among that.
create or replace function tasker_subscribe (p_name text, p_from_start boolean)
  returns void
  language sql
as $$
  insert into tasker_subscription (name, event_id, created_at)
  select p_name, case when p_from_start then tasker_next_event(0, 2 * coalesce((select p.counted_to from tasker_rollup_place p), 0) + 1) else h.event_id end,
         tasker_clock() from tasker_event_horizon() h
  on conflict (name) do nothing
$$;
