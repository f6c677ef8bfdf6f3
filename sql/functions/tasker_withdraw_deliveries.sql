-- tasker_withdraw_deliveries: those of a sender's deliveries that nobody has begun never will be.
--   returns those of the numbers for which there is no delivery any more, also where that was so before: the sender may have missed the answer
create or replace function tasker_withdraw_deliveries (p_sender uuid, p_numbers bigint[])
  returns setof bigint
  language plpgsql
as $$
begin
  delete from tasker_delivery d where d.sender = p_sender and d.number = any(p_numbers) and d.place is null;
  -- in a statement of its own, that sees what was begun while the first one waited for it
  return query select n from unnest(p_numbers) n
                where not exists (select from tasker_delivery d where d.sender = p_sender and d.number = n);
end
$$;
