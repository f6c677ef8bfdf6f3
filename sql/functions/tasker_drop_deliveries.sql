-- tasker_drop_deliveries: the sender waits for nothing any more; what was begun ends at the next beat of its place.
create or replace function tasker_drop_deliveries (p_sender uuid)
  returns void
  language sql
as $$
  with words as (
    delete from tasker_delivery_word w where w.sender = p_sender
  )
  delete from tasker_delivery d where d.sender = p_sender
$$;
