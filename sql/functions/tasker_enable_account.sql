-- tasker_enable_account: a disabled account may come in again.
--   locks  the account     raises WF001     audit tasker.account:update
create or replace function tasker_enable_account (p_name text, p_actor text, p_reason text, p_address text)
  returns void
  language plpgsql
as $$
begin
  update tasker_account a set disabled = false where a.account_id = tasker_account_no(p_name);
  perform tasker_audit_note(p_actor, 'tasker.account:update', 'done', null, 'account ' || p_name, p_reason, p_address, '{"changed": "enabled"}');
end
$$;
