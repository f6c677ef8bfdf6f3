-- tasker_revoke_role: an account has not that role there any more.
--   locks  the account     raises WF001 also when it had not; WF002 for the last administrator     audit tasker.account:update
create or replace function tasker_revoke_role (p_name text, p_role text, p_namespace text, p_actor text, p_reason text, p_address text)
  returns void
  language plpgsql
as $$
begin
  delete from tasker_grant g
   where g.account_id = tasker_account_no(p_name) and g.role = p_role and g.namespace is not distinct from p_namespace;
  if not found then
    raise exception 'the account "%" has not the role % there', p_name, p_role using errcode = 'WF001';
  end if;
  perform tasker_need_admin();
  perform tasker_audit_note(p_actor, 'tasker.account:update', 'done', p_namespace, 'account ' || p_name, p_reason, p_address, jsonb_build_object('revoked', p_role));
end
$$;
