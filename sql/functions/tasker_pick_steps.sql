-- tasker_pick_steps: which ready steps a claim takes when steps stand in several lanes, are parked, or stand behind many dead rows:
-- those that may go on now are let in first.
--   returns the places of at most p_want rows of tasker_ready, locked     locks  as tasker_admit_steps; then those rows (rows that another claim takes are skipped)
create or replace function tasker_pick_steps (p_served int[], p_want int)
  returns tid[]
  language plpgsql
as $$
declare
  v_known tasker_head[];
  v_picked tid[];
begin
  if exists (select from tasker_ready r where r.definition_id < 0) then
    perform tasker_admit_steps(p_served, p_want);
  end if;
  v_known := tasker_known_heads();
  if v_known is not null then
    v_picked := tasker_pick_in_turn(v_known, p_served, p_want);
    if cardinality(v_picked) = p_want then
      return v_picked;
    end if;
  end if;
  return tasker_pick_in_turn(tasker_find_heads(), p_served, p_want);
end
$$;
