-- tasker_admit_line: the first in one line go on, as many as there are free places; and every step that has its place, or whose task has it, wherever it stands.
--   The caller holds the line.
--   returns how many places that took     moves  none     locks  queue rows; those that others hold stay where they are
create or replace function tasker_admit_line (p_limit_id int, p_key text, p_lanes int[], p_want int)
  returns int
  language plpgsql
as $$
declare
  v_now timestamptz := tasker_clock();
  v_limit tasker_limit;
  v_free int;
  v_next record;
  v_took int;
  v_taken int := 0;
  v_left_behind boolean := false;
begin
  select l.* into v_limit from tasker_limit l where l.limit_id = p_limit_id;
  perform tasker_look_at_places(v_limit, p_key);
  v_free := tasker_free_count(v_limit, p_key);
  for v_next in
    select w.rank, w.task_no, w.step_no, w.lane from tasker_waiting w
     where w.limit_id = p_limit_id and w.key = p_key and w.lane = any(p_lanes) order by w.rank, w.task_no, w.step_no limit p_want
  loop
    exit when v_free <= 0;
    v_took := coalesce(tasker_leave_line(v_limit, p_key, v_next.rank, v_next.task_no, v_next.step_no, v_next.lane), 0);
    v_free := v_free - v_took;
    v_taken := v_taken + v_took;
  end loop;
  -- for whatever engine they are: they take no place, and who serves them may not look at this line until one is given back
  for v_next in
    select w.rank, w.task_no, w.step_no, w.lane from tasker_place h
     cross join lateral (select k.limit_id, k.key, k.rank, k.task_no, k.step_no, k.lane from tasker_waiting k where k.task_no = h.task_no offset 0) w
     where h.limit_id = p_limit_id and h.key = p_key and not h.ended and w.limit_id = p_limit_id and w.key = p_key and h.step_no in (0, w.step_no)
  loop
    v_took := tasker_leave_line(v_limit, p_key, v_next.rank, v_next.task_no, v_next.step_no, v_next.lane);
    v_left_behind := v_left_behind or v_took is null;
  end loop;
  update tasker_line n set due_at = case when v_left_behind then v_now else tasker_line_due(v_limit, p_key, v_free) end
   where n.limit_id = p_limit_id and n.key = p_key;
  return v_taken;
end
$$;
