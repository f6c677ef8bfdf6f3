-- tasker_end_delivery: what came of a delivery waits for its sender, who reports it.
--   returns false when nobody waits for it any more
create or replace function tasker_end_delivery (p_token uuid, p_kind smallint, p_payload text)
  returns boolean
  language sql
as $$
  with ended as (
    update tasker_delivery d set kind = p_kind, payload = p_payload
     where d.token = p_token and d.place is not null and d.kind is null and d.lease_until > tasker_clock()
    returning d.sender
  )
  select exists (select pg_notify('tasker_delivered', e.sender::text) from ended e)
$$;
