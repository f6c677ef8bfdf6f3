-- tasker_set_zone: times are shown to an account in that zone; null: in the browser's.
--   moves, events  none     raises  WF001 unknown account
create or replace function tasker_set_zone (p_account_id int, p_zone text)
  returns void
  language plpgsql
as $$
begin
  update tasker_account a set zone = p_zone where a.account_id = p_account_id;
  if not found then
    raise exception 'there is no such account' using errcode = 'WF001';
  end if;
end
$$;
