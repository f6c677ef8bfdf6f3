-- tasker_subscribe: a subscriber has its place in the events: where it was, or, when it is new, now or at their beginning.
create or replace function tasker_subscribe (p_name text, p_from_start boolean)
  returns void
  language sql
as $$
  insert into tasker_subscription (name, event_id, created_at)
  select p_name, case when p_from_start then 0 else h.event_id end, tasker_clock() from tasker_event_horizon() h
  on conflict (name) do nothing
$$;
