-- tasker_state_name: the word for a state's number.
create or replace function tasker_state_name (p_state smallint)
  returns text
  language sql immutable strict parallel safe
as $$
  select (array['pending', 'ready', 'running', 'retrying', 'completed', 'failed', 'cancelled', 'skipped', 'resolved'])[p_state + 1]
$$;
