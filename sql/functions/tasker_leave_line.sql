-- tasker_leave_line: one step that stands in a line goes on, if it still stands there. The caller holds the line and has a place for it, or knows that its task has one.
--   A step stands in a line by its row in tasker_waiting, and only who holds its queue row may make that row or remove it; what has no such queue row
--   any more is tidied up here.
--   returns how many places that took; null: somebody is at work on the step, and it is to be looked at again
--   moves  none     locks  the queue row; one that another holds stays where it is
create or replace function tasker_leave_line (p_limit tasker_limit, p_key text, p_rank timestamptz, p_task_no bigint, p_step_no int, p_lane int)
  returns int
  language plpgsql
as $$
declare
  v_is_parked boolean;
begin
  perform from tasker_ready r where r.task_no = p_task_no and r.step_no = p_step_no and r.definition_id < 0 and r.rank = 'infinity' for update skip locked;
  v_is_parked := found;
  if not v_is_parked and exists (select from tasker_ready r where r.task_no = p_task_no and r.step_no = p_step_no and r.definition_id < 0 and r.rank = 'infinity') then
    return null;
  end if;
  delete from tasker_waiting w where w.limit_id = p_limit.limit_id and w.key = p_key and w.rank = p_rank and w.task_no = p_task_no and w.step_no = p_step_no;
  -- a pause parks a step just so, but takes it out of the line: the caller's list is older than that
  if not v_is_parked or not found then
    return 0;
  end if;
  return tasker_take_place(p_limit, p_key, p_task_no, p_step_no, p_rank, p_lane);
end
$$;
