-- tasker_step_id: one number for a step, made of its task's number and its place in the task (up to 1,048,575).
create or replace function tasker_step_id (p_task_no bigint, p_step_no int)
  returns bigint
  language sql immutable strict parallel safe
as $$
  select p_task_no * 1048576 + p_step_no
$$;
