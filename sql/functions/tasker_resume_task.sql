-- tasker_resume_task: a paused task goes on where it stands.
--   moves  none; parked steps stand in the queue again, as if they had become ready now     locks  as tasker_hold_tasks, then the task
--   raises WF001 unknown task, WF002 when it is not paused     events none; the history says who and why
create or replace function tasker_resume_task (p_task_id uuid, p_actor text, p_reason text)
  returns text
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_now timestamptz := tasker_clock();
  v_task tasker_task;
begin
  perform tasker_hold_tasks(array[v_task_no]);
  select t.* into v_task from tasker_task t where t.task_no = v_task_no for update;
  if not found then
    raise exception 'the task was dropped in this moment' using errcode = 'WF001';
  end if;
  if not v_task.paused or v_task.finished_at is not null then
    raise exception 'the task is not paused' using errcode = 'WF002';
  end if;
  update tasker_step s set paused = false where s.task_no = v_task_no and s.paused;
  update tasker_ready r
     set rank = v_now - v_task.priority * interval '1 minute',
         definition_id = (select case when s.gated then -s.definition_id else s.definition_id end from tasker_step s where s.task_no = r.task_no and s.step_no = r.step_no)
   where r.task_no = v_task_no and r.definition_id < 0;
  update tasker_task t set paused = false where t.task_no = v_task_no;
  insert into tasker_history (task_no, at, from_state, to_state, actor, reason, detail)
  values (v_task_no, v_now, v_task.state, v_task.state, p_actor, p_reason, '{"paused": false}');
  perform pg_notify('tasker_ready', '');
  perform pg_notify('tasker_news', '');
  return tasker_state_name(v_task.state);
end
$$;
