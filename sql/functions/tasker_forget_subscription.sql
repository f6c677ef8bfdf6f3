-- tasker_forget_subscription: a subscriber that will not come back has no place in the events any more, and nothing waits for it.
--   What was laid aside for it goes too. Should its code come back, it is a new one.
--   returns how many events were laid aside     moves, events  none     locks  the subscription, then what was laid aside, as tasker_lay_aside_event does
--   raises WF001 when there is none of that name, WF002 while an engine delivers to it
create or replace function tasker_forget_subscription (p_name text)
  returns int
  language plpgsql
as $$
declare
  v_lease_until timestamptz;
  v_count int;
begin
  select s.lease_until into v_lease_until from tasker_subscription s where s.name = p_name for update;
  if not found then
    raise exception 'there is no subscription "%"', p_name using errcode = 'WF001';
  end if;
  if v_lease_until > tasker_clock() then
    raise exception 'an engine delivers to "%" now; stop it, or start it without that subscriber', p_name using errcode = 'WF002';
  end if;
  delete from tasker_undelivered u where u.name = p_name;
  get diagnostics v_count = row_count;
  delete from tasker_subscription s where s.name = p_name;
  return v_count;
end
$$;
