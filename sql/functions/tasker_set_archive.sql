-- tasker_set_archive: from now on the tasks of a namespace are written to the place before they are dropped; p_namespace null: of all without a row of their own.
--   p_place  null: they are not written
--   raises   WF001 unknown namespace
create or replace function tasker_set_archive (p_namespace text, p_place text, p_actor text)
  returns void
  language plpgsql
as $$
begin
  if p_namespace is not null and not exists (select from tasker_namespace n where n.namespace = p_namespace) then
    raise exception 'there is no namespace "%"', p_namespace using errcode = 'WF001';
  end if;
  insert into tasker_archive (namespace, place, set_by, set_at)
  values (p_namespace, p_place, p_actor, tasker_clock())
  on conflict (namespace) do update set place = excluded.place, set_by = excluded.set_by, set_at = excluded.set_at;
end
$$;
