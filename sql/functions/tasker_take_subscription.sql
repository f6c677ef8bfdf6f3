-- tasker_take_subscription: one engine at a time delivers to a subscriber.
--   The owner's lease is renewed once a third of it is over; another engine takes over when it has run out, under a new fence.
--   returns the subscriber's place, how its next event was refused so far and for how long, and whether it may be tried now; no row while another
--           engine owns it
create or replace function tasker_take_subscription (p_name text, p_owner uuid, p_lease interval)
  returns table (fence bigint, event_id bigint, attempts int, failures int, refused_for interval, due boolean)
  language plpgsql
as $$
#variable_conflict use_column
declare
  v_now timestamptz := tasker_clock();
begin
  update tasker_subscription s
     set fence = s.fence + (s.owner is distinct from p_owner)::int, owner = p_owner, lease_until = v_now + p_lease
   where s.name = p_name
     and case when s.owner = p_owner then s.lease_until < v_now + p_lease * 2 / 3 else s.owner is null or s.lease_until < v_now end;
  return query
  select s.fence, s.event_id, s.attempts, s.failures, coalesce(v_now - s.first_refused_at, interval '0'), s.next_try_at is null or s.next_try_at <= v_now
    from tasker_subscription s where s.name = p_name and s.owner = p_owner;
end
$$;
