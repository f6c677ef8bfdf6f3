-- tasker_remove_role: there is no such role any more.
--   locks  the role     raises WF001 when there is none, WF002 while accounts have it     audit tasker.account:update
create or replace function tasker_remove_role (p_role text, p_actor text, p_reason text, p_address text)
  returns void
  language plpgsql
as $$
begin
  delete from tasker_role r where r.role = p_role;
  if not found then
    raise exception 'there is no role %', p_role using errcode = 'WF001';
  end if;
  if exists (select from tasker_grant g where g.role = p_role) then
    raise exception 'accounts have the role %; take it from them first', p_role using errcode = 'WF002';
  end if;
  perform tasker_audit_note(p_actor, 'tasker.account:update', 'done', null, 'role ' || p_role, p_reason, p_address, '{"removed": true}');
end
$$;
