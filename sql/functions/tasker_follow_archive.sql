-- tasker_follow_archive: a namespace has no archive of its own any more and follows the default.
--   raises WF001 unknown namespace
create or replace function tasker_follow_archive (p_namespace text)
  returns void
  language plpgsql
as $$
begin
  if not exists (select from tasker_namespace n where n.namespace = p_namespace) then
    raise exception 'there is no namespace "%"', p_namespace using errcode = 'WF001';
  end if;
  delete from tasker_archive a where a.namespace = p_namespace;
end
$$;
