-- tasker_hold_steps: these steps move only by the caller until its transaction ends, and so does everything in the whole tasks.
--   p_whole  tasks of which every step that can still move is held; their queue rows are held already, see tasker_hold_queues
--   locks  steps by (task_no, step_no), whichever of the two they are named for
--   raises 40001 when a map step made its items in this moment: they are not held, and the caller starts again
create or replace function tasker_hold_steps (p_task_nos bigint[], p_step_nos int[], p_whole bigint[])
  returns void
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_items bigint := (select sum(t.item_count) from tasker_task t where t.task_no = any(p_whole));
begin
  perform from (select k.task_no, k.step_no from tasker_step k where k.task_no = any(p_whole) and k.state in (0, 1, 2, 3, 5)
                union all select s.task_no, s.step_no from unnest(p_task_nos, p_step_nos) as s (task_no, step_no)
                 order by 1, 2) held
     cross join lateral (select from tasker_step k where k.task_no = held.task_no and k.step_no = held.step_no for update) s;
  -- now every map step is held too, so what a new snapshot does not show will not come
  if v_items <> (select sum(t.item_count) from tasker_task t where t.task_no = any(p_whole)) then
    raise exception 'a map step made its items while the task was being held' using errcode = '40001';
  end if;
end
$$;
