-- tasker_remove_preset: it is gone; tasks that were launched with it stay.
--   raises WF001 unknown preset
create or replace function tasker_remove_preset (p_namespace text, p_name text, p_preset text)
  returns void
  language plpgsql
as $$
begin
  delete from tasker_preset s where s.namespace = p_namespace and s.name = p_name and s.preset = p_preset;
  if not found then
    raise exception 'there is no preset "%" of %/%', p_preset, p_namespace, p_name using errcode = 'WF001';
  end if;
end
$$;
