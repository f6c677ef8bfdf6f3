-- tasker_advance_schedule: a run that was due has been dealt with; the schedule waits for its next one.
--   Where that is the same run, whose times the caller could not compute, it stays claimed for a while, and whoever comes then tries again.
-- needs: tasker_clock
--   p_due_at    the run that the caller claimed; when the schedule has moved on from it, nothing changes
--   p_task_ids  the tasks that were made, oldest first;  p_error  why there are none
--   p_refused, p_missed  how many runs were refused, and for how many no engine was there in time
--   returns whether it was advanced
create or replace function tasker_advance_schedule
  (p_schedule_id int, p_due_at timestamptz, p_next_run_at timestamptz, p_task_ids uuid[], p_error text, p_refused int default 0, p_missed int default 0)
  returns boolean
  language sql
as $$
  with made as (
    select coalesce(array_agg(m.task_id order by m.place desc), '{}') as task_ids
      from unnest(p_task_ids) with ordinality as m (task_id, place)
  ),
  advanced as (
    update tasker_schedule s
       set next_run_at = p_next_run_at,
           claimed_until = case when p_next_run_at = p_due_at then s.claimed_until end,
           last_run_at = case when made.task_ids = '{}' then s.last_run_at else tasker_clock() end,
           recent_task_ids = (made.task_ids || s.recent_task_ids)[1:5],
           last_error = p_error,
           refused_count = s.refused_count + p_refused,
           missed_count = s.missed_count + p_missed
      from made
     where s.schedule_id = p_schedule_id and s.next_run_at = p_due_at
    returning 1
  )
  select exists (select from advanced)
$$;
