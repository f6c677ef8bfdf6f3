-- tasker_lay_aside_event: a subscriber failed at its next event for good; tasker_undelivered keeps the event, and delivery goes on after it.
--   fence  the owner's     returns false when another engine owns the subscription by now
-- needs: tasker_read_events
create or replace function tasker_lay_aside_event (p_name text, p_fence bigint, p_event_id bigint, p_error text)
  returns boolean
  language sql
as $$
  with passed as (
    update tasker_subscription s set event_id = p_event_id, attempts = 0, failures = 0, first_refused_at = null, next_try_at = null, last_error = p_error
      from (select k.name, k.attempts from tasker_subscription k where k.name = p_name for update) before
     where s.name = before.name and s.fence = p_fence
    returning s.name, before.attempts + 1 as attempts
  ),
  kept as (
    insert into tasker_undelivered (name, event_id, event, attempts, error, at)
    select p.name, p_event_id, to_jsonb(e), p.attempts, p_error, tasker_clock()
      from passed p cross join tasker_read_events(p_event_id - 1, p_event_id) e
    on conflict (name, event_id) do update set attempts = excluded.attempts, error = excluded.error, at = excluded.at
  )
  select exists (select from passed)
$$;
