-- tasker_create_account: somebody new may come in, with one role.
--   locks  the role     raises WF002 when the name is taken or the role is gone     audit tasker.account:create
create or replace function tasker_create_account (
  p_name text, p_password_hash text, p_outside_id text, p_role text, p_namespace text, p_actor text, p_address text
)
  returns int
  language plpgsql
as $$
declare
  v_account_id int;
begin
  perform tasker_need_role(p_role);
  insert into tasker_account (name, password_hash, outside_id, created_at, created_by)
  values (p_name, p_password_hash, p_outside_id, tasker_clock(), p_actor)
  on conflict do nothing returning account_id into v_account_id;
  if v_account_id is null then
    raise exception 'there is an account "%" already', p_name using errcode = 'WF002';
  end if;
  insert into tasker_grant (account_id, role, namespace) values (v_account_id, p_role, p_namespace);
  perform tasker_audit_note(p_actor, 'tasker.account:create', 'done', p_namespace, 'account ' || p_name, null, p_address, jsonb_build_object('role', p_role));
  return v_account_id;
end
$$;
