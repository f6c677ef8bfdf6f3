-- tasker_set_second_factor: an account signs in with a second factor from now on, or without one when the secret is null.
--   locks  the account     raises WF001     audit tasker.account:update
create or replace function tasker_set_second_factor (p_name text, p_secret text, p_actor text, p_address text)
  returns void
  language plpgsql
as $$
begin
  update tasker_account a set totp_secret = p_secret, totp_last = 0 where a.account_id = tasker_account_no(p_name);
  perform tasker_audit_note(p_actor, 'tasker.account:update', 'done', null, 'account ' || p_name, null, p_address,
                            jsonb_build_object('changed', case when p_secret is null then 'second factor off' else 'second factor on' end));
end
$$;
