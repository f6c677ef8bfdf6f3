-- tasker_cancel_task: an operator stops a task.
--   moves  pending, ready, retrying steps -> cancelled; running ones are asked to stop; task -> cancelled, at once or when the last of them has ended
--   locks  as tasker_hold_tasks, then the task
--   raises WF001 unknown task, WF002 when it has ended     events step.cancelled, task.cancelled
create or replace function tasker_cancel_task (p_task_id uuid, p_actor text, p_reason text)
  returns text
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_now timestamptz := tasker_clock();
  v_task tasker_task;
  v_state smallint;
  v_left int[];
begin
  perform tasker_hold_tasks(array[v_task_no]);
  select t.* into v_task from tasker_task t where t.task_no = v_task_no for update;
  if not found then
    raise exception 'there is no task %', p_task_id using errcode = 'WF001';   -- dropped in this moment
  elsif v_task.finished_at is not null then
    raise exception 'the task is % already', tasker_state_name(v_task.state) using errcode = 'WF002';
  end if;
  update tasker_task t set cancel_requested_at = coalesce(t.cancel_requested_at, v_now) where t.task_no = v_task_no;
  -- a row that a claim has taken since is left to it, see tasker_leave_queue
  with gone as (
    delete from tasker_ready r
     where r.ctid = any(array(select q.ctid from tasker_ready q where q.task_no = v_task_no for update skip locked))
    returning r.step_no
  )
  select array_agg(g.step_no) into v_left from gone g;
  delete from tasker_waiting w where w.task_no = v_task_no and w.step_no = any(v_left);
  delete from tasker_delayed d
   where d.ctid = any(array(select q.ctid from tasker_delayed q where q.task_no = v_task_no for update skip locked));
  insert into tasker_history (task_no, step_no, at, from_state, to_state, actor, reason)
  select v_task_no, s.step_no, v_now, s.state, 6, p_actor, p_reason
    from tasker_step s where s.task_no = v_task_no and s.state in (0, 1, 3) order by s.step_no;
  update tasker_step s
     set state = case when s.state = 2 then 2 else 6 end, finished_at = case when s.state <> 2 then v_now end, cancel_requested = s.state = 2
   where s.task_no = v_task_no and s.state in (0, 1, 2, 3);
  perform pg_notify('tasker_cancel', '');
  v_state := tasker_recount_task(v_task_no, p_actor, p_reason);
  if v_state <> 6 then
    insert into tasker_history (task_no, at, from_state, to_state, actor, reason, detail)
    values (v_task_no, v_now, v_state, v_state, p_actor, p_reason, '{"cancel_requested": true}');
  end if;
  perform pg_notify('tasker_news', '');
  return tasker_state_name(v_state);
end
$$;
