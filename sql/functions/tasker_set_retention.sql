-- tasker_set_retention: from now on a namespace keeps its tasks for so long after their end; null: for ever.
--   raises WF001 unknown namespace
create or replace function tasker_set_retention (p_namespace text, p_retention interval, p_actor text)
  returns void
  language plpgsql
as $$
begin
  update tasker_namespace n
     set retention = p_retention, retention_set_by = p_actor, retention_set_at = tasker_clock()
   where n.namespace = p_namespace;
  if not found then
    raise exception 'there is no namespace "%"', p_namespace using errcode = 'WF001';
  end if;
end
$$;
