-- tasker_rehash_password: the same password, hashed at today's cost. Nothing happens where it was changed meanwhile.
--   locks  the account
create or replace function tasker_rehash_password (p_account_id int, p_former_hash text, p_password_hash text)
  returns boolean
  language sql
as $$
  with kept as (
    update tasker_account a set password_hash = p_password_hash where a.account_id = p_account_id and a.password_hash = p_former_hash returning 1
  )
  select exists (select from kept);
$$;
