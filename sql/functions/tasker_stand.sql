-- tasker_stand: how each step of a task stands, by number, and last the task itself.
--   returns the same steps in the same order before and after an operator's action: none makes or removes one
create or replace function tasker_stand (p_task_no bigint)
  returns tasker_standing[]
  language sql stable
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
  select array_agg(row(s.step_no, s.map_no, s.item_no, s.state, s.attempts, s.finished_at, s.paused, s.cancel_requested, s.bypass,
                       -- once something is lost, every step that can still move is counted
                       s.state = 0 and not s.counted and t.failed_count + t.cancelled_count > 0,
                       coalesce(s.map_no is null or s.step_no between m.first_item and m.first_item + m.item_count - 1, false), null)::tasker_standing order by s.step_no)
         || (select row(null, null, null, k.state, null, k.finished_at, k.paused, k.cancel_requested_at is not null, false, false, true, k.context)::tasker_standing
               from tasker_task k where k.task_no = p_task_no)
    from tasker_step s
   cross join (select k.failed_count, k.cancelled_count from tasker_task k where k.task_no = p_task_no offset 0) t
    left join tasker_step m on m.task_no = p_task_no and m.first_item is not null and m.step_no = s.map_no
   where s.task_no = p_task_no
$$;
