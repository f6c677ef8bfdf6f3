-- tasker_level_name: the word for a log line's level.
create or replace function tasker_level_name (p_level smallint)
  returns text
  language sql immutable strict parallel safe
as $$
  select (array['debug', 'info', 'warning', 'error', 'critical'])[p_level / 10]
$$;
