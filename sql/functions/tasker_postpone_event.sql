-- tasker_postpone_event: a subscriber failed at its next event, which is tried again after p_wait; the subscriber's later events wait with it.
--   p_is_failure  whether the reason was not said to pass     fence  the owner's
--   returns false when another engine owns the subscription by now
create or replace function tasker_postpone_event (p_name text, p_fence bigint, p_error text, p_wait interval, p_is_failure boolean)
  returns boolean
  language sql
as $$
  with postponed as (
    update tasker_subscription s
       set attempts = s.attempts + 1, failures = s.failures + p_is_failure::int, first_refused_at = coalesce(s.first_refused_at, tasker_clock()),
           next_try_at = tasker_clock() + p_wait, last_error = p_error
     where s.name = p_name and s.fence = p_fence
    returning s.name
  )
  select exists (select from postponed)
$$;
