-- tasker_need_admin: somebody can still let others in; called after what takes an account or a role away.
--   locks  the question, until this transaction ends, so that no two take the last two at once     raises WF002 when no account is left that is open and admin everywhere
create or replace function tasker_need_admin ()
  returns void
  language plpgsql
as $$
begin
  perform pg_advisory_xact_lock(hashtextextended('tasker last administrator', 0));
  if not exists (
    select from tasker_account a join tasker_grant g using (account_id) where not a.disabled and g.role = 'admin' and g.namespace is null
  ) then
    raise exception 'this is the last administrator; make another one first' using errcode = 'WF002';
  end if;
end
$$;
