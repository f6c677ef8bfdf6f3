-- tasker_take_old_tasks: those of a batch of a definition's tasks that may be dropped now; nobody else can act on them until the transaction ends.
--   p_after, p_limit, p_hold  as tasker_old_tasks has them; but the batch ends with the task by which it has as many steps, their items included, as
--          p_limit tasks have without items: a statement that deletes millions of them would never be in time
--   locks  the tasks, then their steps as tasker_steps_in_hand. Nobody is waited for: what another engine is dropping and what an
--          operator is acting on is passed by, so the order of locks does not matter here
--   returns looked_to  the last task that was looked at; null: there are no more. Then the tasks that are held
create or replace function tasker_take_old_tasks (p_definition int, p_after bigint, p_limit int, p_hold interval)
  returns table (looked_to bigint, task_nos bigint[])
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: these few tasks are a small part of the tables
as $$
#variable_conflict use_column
declare
  v_begin timestamptz := tasker_retention_begin(p_definition);
  v_steps int := (select d.step_count from tasker_definition d where d.definition_id = p_definition);
  v_more boolean;
  v_old bigint[];
  v_in_hand bigint[];
begin
  with looked_at as (
    select o.task_no, o.kept_for is null as may_go,
           coalesce(sum(v_steps + o.item_count) filter (where o.kept_for is null) over (order by o.task_no rows between unbounded preceding and 1 preceding), 0) as steps_before
      from (select k.task_no, k.kept_for, (select t.item_count from tasker_task t where t.task_no = k.task_no) as item_count
              from tasker_old_tasks(p_definition, p_after, p_limit, p_hold) k) o
  ), batch as (
    select l.task_no, l.may_go from looked_at l where l.steps_before < p_limit::bigint * v_steps
  )
  select max(b.task_no), coalesce(array_agg(b.task_no) filter (where b.may_go), '{}'), count(*) = p_limit or count(*) < (select count(*) from looked_at)
    into looked_to, v_old, v_more from batch b;
  if not v_more then
    looked_to := null;
  end if;
  select array_agg(k.task_no) into task_nos
    from (select t.task_no from tasker_task t
           where t.task_no = any(v_old) and case when t.finished_at < v_begin then true end order by t.task_no for update skip locked) k;
  v_in_hand := tasker_steps_in_hand(task_nos);
  select coalesce(array_agg(k.task_no), '{}') into task_nos
    from unnest(task_nos) as k (task_no) where not (k.task_no = any(v_in_hand));
  return next;
end
$$;
