-- tasker_withdraw_deliveries: those of a sender's deliveries that nobody has begun never will be.
--   returns which they were
create or replace function tasker_withdraw_deliveries (p_sender uuid, p_numbers bigint[])
  returns setof bigint
  language sql
as $$
  delete from tasker_delivery d where d.sender = p_sender and d.number = any(p_numbers) and d.place is null returning d.number
$$;
