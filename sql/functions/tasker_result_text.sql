-- tasker_result_text: what a handler gets of an earlier step's result: its JSON, or @ and the key of the object that it lies in. No JSON begins so.
create or replace function tasker_result_text (p_task_no bigint, p_step_no int, p_result jsonb)
  returns text
  language sql stable
as $$
  select coalesce((select '@' || o.key from tasker_object o where o.task_no = p_task_no and o.step_no = p_step_no and o.key = p_result #>> '{$object,key}'), p_result::text)
$$;
