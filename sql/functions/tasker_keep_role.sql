-- tasker_keep_role: a role of the installation's own bundles these permissions, for whoever has it.
--   audit tasker.account:update
create or replace function tasker_keep_role (p_role text, p_permissions text[], p_actor text, p_address text)
  returns void
  language plpgsql
as $$
begin
  insert into tasker_role (role, permissions) values (p_role, p_permissions)
  on conflict (role) do update set permissions = excluded.permissions;
  perform tasker_audit_note(p_actor, 'tasker.account:update', 'done', null, 'role ' || p_role, null, p_address, jsonb_build_object('permissions', p_permissions));
end
$$;
