-- tasker_leave_subscriptions: an engine delivers no more, and others may go on at once.
create or replace function tasker_leave_subscriptions (p_owner uuid)
  returns void
  language sql
as $$
  update tasker_subscription s set owner = null, lease_until = null where s.owner = p_owner
$$;
