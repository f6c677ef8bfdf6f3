-- tasker_move_exists: the moves a step can make at all; engine/states.py says the same and a test holds them equal.
--   One more there is that nobody can ask for: tasker_expand_step sends a map step back to pending, to wait for its items.
create or replace function tasker_move_exists (p_from smallint, p_to smallint)
  returns boolean
  language sql immutable strict parallel safe
as $$
  select p_to = any(case p_from
    when 0 then array[1, 2, 6, 7, 8]
    when 1 then array[2, 6, 7, 8]
    when 2 then array[1, 3, 4, 5, 6]
    when 3 then array[1, 2, 6, 7, 8]
    when 5 then array[1, 7, 8]
    else array[]::int[]
  end)
$$;
