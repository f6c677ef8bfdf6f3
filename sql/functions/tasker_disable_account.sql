-- tasker_disable_account: nobody comes in by this account any more, its sessions are over and its tokens count for nothing.
--   locks  the account     raises WF001; WF002 for the last administrator     audit tasker.account:update
create or replace function tasker_disable_account (p_name text, p_actor text, p_reason text, p_address text)
  returns void
  language plpgsql
as $$
declare
  v_account_id int := tasker_account_no(p_name);
begin
  update tasker_account a set disabled = true where a.account_id = v_account_id;
  perform tasker_need_admin();
  perform tasker_end_sessions(v_account_id);
  perform tasker_audit_note(p_actor, 'tasker.account:update', 'done', null, 'account ' || p_name, p_reason, p_address, '{"changed": "disabled"}');
end
$$;
