-- tasker_take_deliveries: what has come of a sender's deliveries, told again and again until the sender says that it was told, by p_told.
--   returns kind and payload of what has ended; a kind of null for what was begun by someone who is not heard of any more
create or replace function tasker_take_deliveries (p_sender uuid, p_told bigint[] default '{}')
  returns table (number bigint, kind smallint, payload text, place text)
  language sql
as $$
  with told as (
    delete from tasker_delivery d where d.sender = p_sender and d.number = any(p_told)
  )
  select d.number, d.kind, d.payload, d.place
    from tasker_delivery d
   where d.sender = p_sender and (d.kind is not null or d.lease_until <= tasker_clock()) and d.number <> all(p_told)
$$;
