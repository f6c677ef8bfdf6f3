-- tasker_step_name: what a step is called: its template's name, and for an item of a map step also its place in the list: charge[3].
create or replace function tasker_step_name (p_name text, p_item_no int)
  returns text
  language sql immutable parallel safe
as $$
  select case when p_item_no is null then p_name else p_name || '[' || p_item_no || ']' end
$$;
