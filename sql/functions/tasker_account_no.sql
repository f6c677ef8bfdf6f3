-- tasker_account_no: the number of the account of that name, in whichever case it is written; its row is held.
--   locks  the account     raises WF001 when there is none
create or replace function tasker_account_no (p_name text)
  returns int
  language plpgsql
as $$
declare
  v_account_id int;
begin
  select a.account_id into v_account_id from tasker_account a where lower(a.name) = lower(p_name) for update;
  if v_account_id is null then
    raise exception 'there is no account "%"', p_name using errcode = 'WF001';
  end if;
  return v_account_id;
end
$$;
