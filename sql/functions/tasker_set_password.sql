-- tasker_set_password: an account has another password, and is signed out everywhere.
--   locks  the account     raises WF001     audit tasker.account:update
create or replace function tasker_set_password (p_name text, p_password_hash text, p_actor text, p_address text)
  returns void
  language plpgsql
as $$
declare
  v_account_id int := tasker_account_no(p_name);
begin
  update tasker_account a set password_hash = p_password_hash where a.account_id = v_account_id;
  perform tasker_end_sessions(v_account_id);
  perform tasker_audit_note(p_actor, 'tasker.account:update', 'done', null, 'account ' || p_name, null, p_address, '{"changed": "password"}');
end
$$;
