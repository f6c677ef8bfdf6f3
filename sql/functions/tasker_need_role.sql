-- tasker_need_role: that role is built in, or it is there and stays until this transaction ends; called before somebody is given it.
--   locks  the role     raises WF002 when it is gone
create or replace function tasker_need_role (p_role text)
  returns void
  language plpgsql
as $$
begin
  perform from tasker_role r where r.role = p_role for key share;
  if not found and p_role not in ('viewer', 'operator', 'developer', 'admin') then
    raise exception 'there is no role % any more', p_role using errcode = 'WF002';
  end if;
end
$$;
