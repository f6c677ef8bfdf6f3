-- tasker_step_id: one number for a step, made of its task's number and its own (from -524,288, an item of a map step, up to 524,287).
--   tasker_step_place is the way back
create or replace function tasker_step_id (p_task_no bigint, p_step_no int)
  returns bigint
  language sql immutable strict parallel safe
as $$
  select p_task_no * 1048576 + p_step_no
$$;
