-- tasker_drop_tasks: a batch of a definition's tasks that are older than their namespace keeps them is gone, with everything about them.
--   p_after, p_limit, p_hold  as tasker_old_tasks has them
--   moves  none: what has not ended, and what a subscriber or the roll-ups have still to read, is left
--   locks  the tasks, then those of their steps that could still move. Nobody is waited for: what another engine is dropping and what an
--          operator is acting on is passed by, so the order of locks does not matter here
--   A claim that names an ended step is its engine's to forget, and harms nobody until then.
--   returns looked_to  the last task that was looked at; null: there are no more. Then how many tasks and steps were dropped
create or replace function tasker_drop_tasks (p_definition int, p_after bigint, p_limit int, p_hold interval)
  returns table (looked_to bigint, task_count int, step_count int)
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: these few tasks are a small part of the tables
as $$
#variable_conflict use_column
declare
  v_begin timestamptz := tasker_retention_begin(p_definition);
  v_looked int;
  v_old bigint[];
  v_task_nos bigint[];
  v_task_ids uuid[];
  v_in_hand bigint[];
begin
  select max(o.task_no), count(*), coalesce(array_agg(o.task_no) filter (where o.kept_for is null), '{}') into looked_to, v_looked, v_old
    from tasker_old_tasks(p_definition, p_after, p_limit, p_hold) o;
  if v_looked < p_limit then
    looked_to := null;
  end if;
  select array_agg(k.task_no), array_agg(k.task_id) into v_task_nos, v_task_ids
    from (select t.task_no, t.task_id from tasker_task t
           where t.task_no = any(v_old) and case when t.finished_at < v_begin then true end order by t.task_no for update skip locked) k;
  v_in_hand := tasker_steps_in_hand(v_task_nos);
  select array_agg(k.task_no), array_agg(k.task_id) into v_task_nos, v_task_ids
    from unnest(v_task_nos, v_task_ids) as k (task_no, task_id) where not (k.task_no = any(v_in_hand));

  -- everything that is kept about a task; a new table keyed by task_no belongs here
  delete from tasker_step s where s.task_no = any(v_task_nos);
  get diagnostics step_count = row_count;
  delete from tasker_history h where h.task_no = any(v_task_nos);
  delete from tasker_log l where l.task_no = any(v_task_nos);
  delete from tasker_progress p where p.task_no = any(v_task_nos);
  delete from tasker_rollup_wait w where w.task_no = any(v_task_nos);
  delete from tasker_task_words w where w.task_no = any(v_task_nos);
  delete from tasker_step_words w where w.task_no = any(v_task_nos);
  delete from tasker_follower f where f.task_no = any(v_task_nos);
  delete from tasker_notice n where n.task_no = any(v_task_nos);
  delete from tasker_custom_event c where c.task_no = any(v_task_nos);
  delete from tasker_undelivered u where u.event ->> 'task_id' = any(v_task_ids::text[]);
  delete from tasker_request_key k where k.task_id = any(v_task_ids);
  delete from tasker_task t where t.task_no = any(v_task_nos);
  get diagnostics task_count = row_count;
  return next;
end
$$;
