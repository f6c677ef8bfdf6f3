-- tasker_keep_visitor: somebody whom another application has signed in has an account, of that name and with exactly those roles.
--   locks  the account, the roles     raises WF002 when the name is another account's or a role is gone     audit tasker.account:create or :update
-- The last administrator may go here: who that is, is the other application's business.
create or replace function tasker_keep_visitor (p_outside_id text, p_name text, p_roles text[], p_namespaces text[], p_actor text, p_address text)
  returns int
  language plpgsql
as $$
declare
  v_account_id int;
  v_is_new     boolean;
begin
  perform tasker_need_role(given.role) from unnest(p_roles) as given (role);
  insert into tasker_account as a (name, outside_id, created_at, created_by) values (p_name, p_outside_id, tasker_clock(), p_actor)
  on conflict (outside_id) do update set name = excluded.name
  returning a.account_id, a.xmax = 0 into v_account_id, v_is_new;
  delete from tasker_grant g where g.account_id = v_account_id;
  insert into tasker_grant (account_id, role, namespace)
  select distinct v_account_id, given.role, given.namespace from unnest(p_roles, p_namespaces) as given (role, namespace);
  perform tasker_audit_note(
    p_actor, case when v_is_new then 'tasker.account:create' else 'tasker.account:update' end, 'done', null, 'account ' || p_name, null, p_address,
    jsonb_build_object('roles', p_roles, 'namespaces', p_namespaces)
  );
  return v_account_id;
exception when unique_violation then
  raise exception 'the name "%" is another account''s', p_name using errcode = 'WF002';
end
$$;
