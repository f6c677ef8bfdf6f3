-- tasker_follow_retention: a namespace has no retention of its own any more and follows the default.
--   raises WF001 unknown namespace
create or replace function tasker_follow_retention (p_namespace text)
  returns void
  language plpgsql
as $$
begin
  update tasker_namespace n
     set retention = null, retention_set_by = null, retention_set_at = null
   where n.namespace = p_namespace;
  if not found then
    raise exception 'there is no namespace "%"', p_namespace using errcode = 'WF001';
  end if;
end
$$;
