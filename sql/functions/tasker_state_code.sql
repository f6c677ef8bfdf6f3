-- tasker_state_code: the number for a state's word; null for a word that is no state.
create or replace function tasker_state_code (p_state text)
  returns smallint
  language sql immutable strict parallel safe
as $$
  select (array_position(array['pending', 'ready', 'running', 'retrying', 'completed', 'failed', 'cancelled', 'skipped', 'resolved'], p_state) - 1)::smallint
$$;
