-- tasker_grant_role: an account has a role in a namespace, or without one everywhere.
--   locks  the account, the role     raises WF001; WF002 when the role is gone     audit tasker.account:update
create or replace function tasker_grant_role (p_name text, p_role text, p_namespace text, p_actor text, p_reason text, p_address text)
  returns void
  language plpgsql
as $$
begin
  perform tasker_need_role(p_role);
  insert into tasker_grant (account_id, role, namespace) values (tasker_account_no(p_name), p_role, p_namespace) on conflict do nothing;
  perform tasker_audit_note(p_actor, 'tasker.account:update', 'done', p_namespace, 'account ' || p_name, p_reason, p_address, jsonb_build_object('granted', p_role));
end
$$;
