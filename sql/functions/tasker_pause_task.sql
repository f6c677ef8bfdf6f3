-- tasker_pause_task: what runs may end, nothing else of the task starts until it is resumed.
--   moves  none; steps that are or become ready are parked, and stand in no line before a limit any more     locks  as tasker_hold_tasks, then the task
--   raises WF001 unknown task, WF002 when it has ended, is paused already or is asked to stop     events none; the history says who and why
-- Whoever unlocks a step meanwhile waits for its row and then sees the mark, whatever snapshot it began with.
create or replace function tasker_pause_task (p_task_id uuid, p_actor text, p_reason text)
  returns text
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_task tasker_task;
begin
  perform tasker_hold_tasks(array[v_task_no]);
  select t.* into v_task from tasker_task t where t.task_no = v_task_no for update;
  if not found then
    raise exception 'the task was dropped in this moment' using errcode = 'WF001';
  end if;
  if v_task.finished_at is not null or v_task.paused then
    raise exception 'the task is % already', case when v_task.paused then 'paused' else tasker_state_name(v_task.state) end using errcode = 'WF002';
  end if;
  perform tasker_refuse_cancelled(v_task_no);
  update tasker_step s set paused = true where s.task_no = v_task_no and s.state in (0, 1, 2, 3, 5);
  update tasker_ready r set rank = 'infinity', definition_id = -abs(r.definition_id) where r.task_no = v_task_no;
  delete from tasker_waiting w where w.task_no = v_task_no;   -- by who holds the queue rows, see tasker_leave_line
  update tasker_task t set paused = true where t.task_no = v_task_no;
  insert into tasker_history (task_no, at, from_state, to_state, actor, reason, detail)
  values (v_task_no, tasker_clock(), v_task.state, v_task.state, p_actor, p_reason, '{"paused": true}');
  perform pg_notify('tasker_news', '');
  return tasker_state_name(v_task.state);
end
$$;
