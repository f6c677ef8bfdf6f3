-- tasker_admit_line: the first in one line go on, as many as there are free places. The caller holds the line.
--   returns how many steps now stand in the queue     moves  none     locks  queue rows; those that others hold stay where they are
create or replace function tasker_admit_line (p_limit_id int, p_key text, p_lanes int[], p_want int)
  returns int
  language plpgsql
as $$
declare
  v_now timestamptz := tasker_clock();
  v_limit tasker_limit;
  v_free int;
  v_next record;
  v_admitted int := 0;
begin
  select l.* into v_limit from tasker_limit l where l.limit_id = p_limit_id;
  perform tasker_look_at_places(v_limit, p_key);
  v_free := tasker_free_count(v_limit, p_key);
  for v_next in
    select w.rank, w.task_no, w.step_no, w.lane from tasker_waiting w
     where w.limit_id = p_limit_id and w.key = p_key and w.lane = any(p_lanes) order by w.rank, w.task_no, w.step_no limit p_want
  loop
    exit when v_free <= 0 and not (v_limit.step_name = '' and exists (select from tasker_place h where h.task_no = v_next.task_no and h.limit_id = p_limit_id));
    perform from tasker_ready r where r.task_no = v_next.task_no and r.step_no = v_next.step_no and r.definition_id < 0 and r.rank = 'infinity' for update skip locked;
    if found then
      v_free := v_free - tasker_take_place(v_limit, p_key, v_next.task_no, v_next.step_no, v_next.rank, v_next.lane);
      v_admitted := v_admitted + 1;
    -- somebody is at work on it: it is looked at again
    elsif exists (select from tasker_ready r where r.task_no = v_next.task_no and r.step_no = v_next.step_no and r.definition_id < 0 and r.rank = 'infinity') then
      continue;
    end if;
    delete from tasker_waiting w where w.limit_id = p_limit_id and w.key = p_key and w.rank = v_next.rank and w.task_no = v_next.task_no and w.step_no = v_next.step_no;
  end loop;
  update tasker_line n set due_at = tasker_line_due(v_limit, p_key, v_free) where n.limit_id = p_limit_id and n.key = p_key;
  return v_admitted;
end
$$;
