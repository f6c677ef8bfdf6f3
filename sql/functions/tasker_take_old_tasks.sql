-- tasker_take_old_tasks: those of a batch of a definition's tasks that may be dropped now; nobody else can act on them until the transaction ends.
--   p_after, p_limit, p_hold  as tasker_old_tasks has them
--   locks  the tasks, then those of their steps that could still move. Nobody is waited for: what another engine is dropping and what an
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
  v_looked int;
  v_old bigint[];
  v_in_hand bigint[];
begin
  select max(o.task_no), count(*), coalesce(array_agg(o.task_no) filter (where o.kept_for is null), '{}') into looked_to, v_looked, v_old
    from tasker_old_tasks(p_definition, p_after, p_limit, p_hold) o;
  if v_looked < p_limit then
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
