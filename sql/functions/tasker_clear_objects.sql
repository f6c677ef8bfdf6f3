-- tasker_clear_objects: the folders are gone from the store.
create or replace function tasker_clear_objects (p_folders text[])
  returns void
  language sql
as $$
  delete from tasker_object_left f where f.folder = any(p_folders)
$$;
