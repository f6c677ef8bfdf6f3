-- tasker_use_second_factor: whether the code of that period may count: none does twice, and none after a later one.
create or replace function tasker_use_second_factor (p_account_id int, p_period bigint)
  returns boolean
  language sql
as $$
  with used as (update tasker_account a set totp_last = p_period where a.account_id = p_account_id and a.totp_last < p_period returning 1)
  select exists (select from used)
$$;
