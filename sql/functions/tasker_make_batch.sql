-- tasker_make_batch: an action on many tasks, or steps of tasks, is on record, for the engines to do.
--   p_steps  as many names as there are tasks, null where the action is on the whole task
--   p_given  the result, where the action is resolve
--   p_key    of the request, or null: asked for a second time, the first batch is the answer
--   moves, events  none     locks  the key     raises  WF001 when none of the tasks exists
create or replace function tasker_make_batch (p_action text, p_tasks uuid[], p_steps text[], p_about text, p_actor text, p_reason text, p_key text default null, p_given jsonb default null)
  returns bigint
  language plpgsql
as $$
declare
  v_batch_id bigint;
begin
  -- one statement: what retention drops meanwhile is an item all the same, and is refused as one that is gone
  with chosen as materialized (
    -- in the order in which everybody locks tasks
    select row_number() over (order by t.task_no, c.place) as item_no, c.task_id, c.step_name, d.namespace
      from unnest(p_tasks, p_steps) with ordinality as c (task_id, step_name, place) join tasker_task t using (task_id) join tasker_definition d using (definition_id)
  ),
  batch as (
    insert into tasker_batch (action, about, namespaces, actor, reason, item_count, created_at, key, given)
    select p_action, p_about, array_agg(distinct c.namespace), p_actor, p_reason, count(*), tasker_clock(), p_key, p_given
      from chosen c having count(*) > 0
    on conflict (key) do nothing
    returning batch_id
  ),
  item as (
    insert into tasker_batch_item (batch_id, item_no, task_id, step_name)
    select b.batch_id, c.item_no, c.task_id, c.step_name from batch b, chosen c
  )
  select b.batch_id into v_batch_id from batch b;
  if not found then
    select b.batch_id into v_batch_id from tasker_batch b where b.key = p_key;
    if not found then
      raise exception 'none of the tasks exists any more' using errcode = 'WF001';
    end if;
  end if;
  return v_batch_id;
end
$$;
