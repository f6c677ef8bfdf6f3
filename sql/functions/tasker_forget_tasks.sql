-- tasker_forget_tasks: the tasks are gone, with everything about them; the folders of their objects are put down as left. Only for those that tasker_take_old_tasks has just given to this transaction.
--   moves  none: they have ended
--   locks  none: the caller holds them
--   A claim that names an ended step is its engine's to forget, and harms nobody until then.
create or replace function tasker_forget_tasks (p_task_nos bigint[])
  returns table (task_count int, step_count int)
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: these few tasks are a small part of the tables
as $$
#variable_conflict use_column
declare
  v_task_ids uuid[] := (select array_agg(t.task_id) from tasker_task t where t.task_no = any(p_task_nos));
begin
  insert into tasker_object_left (folder, left_at)
  select distinct split_part(o.key, '/', 1) || '/' || split_part(o.key, '/', 2), tasker_clock() from tasker_object o where o.task_no = any(p_task_nos)
  on conflict (folder) do nothing;

  -- everything that is kept about a task; a new table keyed by task_no belongs here
  delete from tasker_step s where s.task_no = any(p_task_nos);
  get diagnostics step_count = row_count;
  delete from tasker_object o where o.task_no = any(p_task_nos);
  delete from tasker_history h where h.task_no = any(p_task_nos);
  delete from tasker_log l where l.task_no = any(p_task_nos);
  delete from tasker_progress p where p.task_no = any(p_task_nos);
  delete from tasker_rollup_wait w where w.task_no = any(p_task_nos);
  delete from tasker_task_words w where w.task_no = any(p_task_nos);
  delete from tasker_step_words w where w.task_no = any(p_task_nos);
  delete from tasker_follower f where f.task_no = any(p_task_nos);
  delete from tasker_notice n where n.task_no = any(p_task_nos);
  delete from tasker_custom_event c where c.task_no = any(p_task_nos);
  delete from tasker_undelivered u where u.event ->> 'task_id' = any(v_task_ids::text[]);
  delete from tasker_request_key k where k.task_id = any(v_task_ids);
  delete from tasker_task t where t.task_no = any(p_task_nos);
  get diagnostics task_count = row_count;
  return next;
end
$$;
