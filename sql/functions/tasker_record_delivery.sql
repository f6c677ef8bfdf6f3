-- tasker_record_delivery: a subscriber has taken everything up to an event.
--   p_delivered  how many of these were for it     fence  the owner's
--   returns false when another engine owns the subscription by now; then nothing is recorded
create or replace function tasker_record_delivery (p_name text, p_fence bigint, p_event_id bigint, p_delivered int)
  returns boolean
  language sql
as $$
  with recorded as (
    update tasker_subscription s
       set event_id = p_event_id, attempts = 0, failures = 0, first_refused_at = null, next_try_at = null, last_error = null,
           delivered_count = s.delivered_count + p_delivered,
           delivered_at = case when p_delivered > 0 then tasker_clock() else s.delivered_at end
     where s.name = p_name and s.fence = p_fence
    returning s.name
  )
  select exists (select from recorded)
$$;
