-- tasker_use_sign_in_link: the link is used up; the account it was for, or null when it was used before, expired or never made.
create or replace function tasker_use_sign_in_link (p_hash bytea)
  returns int
  language sql
as $$
  with used as (delete from tasker_sign_in_link l where l.link_hash = p_hash returning l.account_id, l.expires_at)
  select u.account_id from used u join tasker_account a using (account_id) where u.expires_at > tasker_clock() and not a.disabled
$$;
