-- tasker_pick_steps: which ready steps a claim takes when steps stand in several lanes, or are parked: those that may go on now are let in first.
--   returns the places of at most p_want rows of tasker_ready, locked     locks  as tasker_admit_steps; then those rows (rows that another claim takes are skipped)
create or replace function tasker_pick_steps (p_served int[], p_want int)
  returns tid[]
  language plpgsql
as $$
declare
  v_lane int := 0;
  v_lanes int[] := '{}';
begin
  if exists (select from tasker_ready r where r.definition_id < 0) then
    perform tasker_admit_steps(p_served, p_want);
  end if;
  loop   -- from one lane that has steps to the next
    select r.definition_id into v_lane from tasker_ready r where r.definition_id > v_lane order by r.definition_id, r.rank, r.ready_no limit 1;
    exit when not found;
    if v_lane = any(p_served) then
      v_lanes := v_lanes || v_lane;
    end if;
  end loop;
  if cardinality(v_lanes) > 1 then
    return tasker_pick_in_turn(v_lanes, p_want);
  end if;
  return array(select q.ctid from tasker_ready q where q.definition_id = v_lanes[1] order by q.rank, q.ready_no limit p_want for update skip locked);
end
$$;
