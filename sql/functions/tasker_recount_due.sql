-- tasker_recount_due: which tasks must be counted anew when these steps end badly.
--   Not so when only counted steps fail in a task where something has failed before: there, what is blocked is just taken off the count.
create or replace function tasker_recount_due (p_task_nos bigint[], p_step_nos int[])
  returns bigint[]
  language sql stable
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
  select array(
    select distinct ending.task_no
      from unnest(p_task_nos, p_step_nos) as ending (task_no, step_no)
     cross join lateral (select k.counted, k.children is not null and (k.state = 6 or k.cancel_requested) as leads_cancelled
                           from tasker_step k where k.task_no = ending.task_no and k.step_no = ending.step_no offset 0) s
     cross join lateral (select k.failed_count + k.cancelled_count as lost from tasker_task k where k.task_no = ending.task_no offset 0) t
     where t.lost = 0 or not s.counted or s.leads_cancelled
     order by 1)
$$;
