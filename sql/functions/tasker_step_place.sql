-- tasker_step_place: the task's number and the step's number that a step id is made of.
create or replace function tasker_step_place (p_step_id bigint, out task_no bigint, out step_no int)
  language sql immutable strict parallel safe
as $$
  select (p_step_id + 524288) >> 20, (((p_step_id + 524288) & 1048575) - 524288)::int
$$;
