-- tasker_retry_task: an operator lets every failed step of a task try again.
--   moves  failed steps -> ready, the task -> running     locks  as tasker_hold_tasks, then the task
--   raises WF001 unknown task, WF002 when no step of it is failed, the task was cancelled, or a failed step was tried as often as can be counted
--   events none of its own; the history says who and why
create or replace function tasker_retry_task (p_task_id uuid, p_actor text, p_reason text)
  returns text
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_now timestamptz := tasker_clock();
  v_state smallint;
begin
  perform tasker_hold_tasks(array[v_task_no]);
  perform tasker_refuse_cancelled(v_task_no);
  perform tasker_refuse_spent(v_task_no, array(select s.step_no from tasker_step s where s.task_no = v_task_no and s.state = 5));
  with reopened as (
    update tasker_step s
       set state = 1, finished_at = null, retry_limit = least(s.attempts + p.retry_limit, 32767)
      from tasker_template p
     where s.task_no = v_task_no and s.state = 5 and p.definition_id = s.definition_id and p.step_no = coalesce(s.map_no, s.step_no)
    returning s.step_no, s.definition_id, s.paused, s.gated
  ),
  ready as (
    insert into tasker_ready (rank, task_no, step_no, definition_id)
    select case when r.paused then 'infinity' else v_now - t.priority * interval '1 minute' end, v_task_no, r.step_no,
           case when r.paused or r.gated then -r.definition_id else r.definition_id end
      from reopened r, tasker_task t where t.task_no = v_task_no order by r.step_no
  )
  insert into tasker_history (task_no, step_no, at, from_state, to_state, actor, reason)
  select v_task_no, r.step_no, v_now, 5, 1, p_actor, p_reason from reopened r order by 2;
  if not found then
    select t.state into v_state from tasker_task t where t.task_no = v_task_no;
    raise exception 'the task is % and no step of it is failed', tasker_state_name(v_state) using errcode = 'WF002';
  end if;
  v_state := tasker_recount_task(v_task_no, p_actor, p_reason);
  perform pg_notify('tasker_ready', '');
  perform pg_notify('tasker_news', '');
  return tasker_state_name(v_state);
end
$$;
