-- tasker_note_schedule_run: an operator had the schedule make this task; its own times stay as they are.
create or replace function tasker_note_schedule_run (p_schedule_id int, p_task_id uuid)
  returns void
  language sql
as $$
  update tasker_schedule s
     set last_run_at = tasker_clock(), recent_task_ids = (p_task_id || s.recent_task_ids)[1:5]
   where s.schedule_id = p_schedule_id
$$;
