-- tasker_drop_tasks: a batch of a definition's tasks that are older than their namespace keeps them is gone, with everything about them.
--   p_after, p_limit, p_hold  as tasker_old_tasks has them
--   moves  none: what has not ended, and what a subscriber or the roll-ups have still to read, is left; and everything, where there is an
--          archive: who drops there writes first, between tasker_take_old_tasks and tasker_forget_tasks
--   locks  as tasker_take_old_tasks
--   returns looked_to  the last task that was looked at; null: there are no more. Then how many tasks and steps were dropped
create or replace function tasker_drop_tasks (p_definition int, p_after bigint, p_limit int, p_hold interval)
  returns table (looked_to bigint, task_count int, step_count int)
  language plpgsql
as $$
#variable_conflict use_column
declare
  v_task_nos bigint[];
begin
  task_count := 0;
  step_count := 0;
  if not exists (select from tasker_archives a join tasker_definition d using (namespace) where d.definition_id = p_definition and a.place is not null) then
    select k.looked_to, k.task_nos into looked_to, v_task_nos from tasker_take_old_tasks(p_definition, p_after, p_limit, p_hold) k;
    select f.task_count, f.step_count into task_count, step_count from tasker_forget_tasks(v_task_nos) f;
  end if;
  return next;
end
$$;
