-- tasker_grants: what an account has been given: role, namespace (null: everywhere), and the permissions of a role that is not built in.
create or replace function tasker_grants (p_account_id int)
  returns jsonb
  language sql stable
as $$
  select coalesce(jsonb_agg(jsonb_build_array(g.role, g.namespace, r.permissions) order by g.role, g.namespace), '[]')
    from tasker_grant g left join tasker_role r using (role) where g.account_id = p_account_id
$$;
