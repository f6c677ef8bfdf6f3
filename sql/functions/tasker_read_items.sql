-- tasker_read_items: what items of map steps work on, for an engine that has just claimed them.
create or replace function tasker_read_items (p_task_nos bigint[], p_step_nos int[])
  returns table (task_no bigint, step_no int, map_no int, item_no int, item text)
  language sql stable
as $$
  select s.task_no, s.step_no, s.map_no, s.item_no, s.item::text
    from unnest(p_task_nos, p_step_nos) as wanted (task_no, step_no)
   cross join lateral (select k.task_no, k.step_no, k.map_no, k.item_no, k.item from tasker_step k
                        where k.task_no = wanted.task_no and k.step_no = wanted.step_no offset 0) s
$$;
