-- tasker_need_admin: somebody can still let others in; called at the end of what takes an account or a role away.
--   raises WF002 when no account is left that is open and admin everywhere
create or replace function tasker_need_admin ()
  returns void
  language plpgsql
as $$
begin
  if not exists (
    select from tasker_account a join tasker_grant g using (account_id) where not a.disabled and g.role = 'admin' and g.namespace is null
  ) then
    raise exception 'this is the last administrator; make another one first' using errcode = 'WF002';
  end if;
end
$$;
