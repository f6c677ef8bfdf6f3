-- tasker_wake_due: moves what has waited long enough from tasker_delayed to tasker_ready.
--   What an engine was at when it died keeps its turn: it ranks by when it could run for the first time.
--   moves  retrying -> ready, pending roots of a task whose run_at has come -> ready (or skipped when bypassed)
--          and what follows when a bypassed root is skipped: its children -> ready or skipped, and so on down, the task -> its state when all has ended
--   locks  delayed rows (those another session is waking are skipped), then steps; for a bypassed root then as tasker_unlock_children and tasker_count_off
--   events none for what becomes ready: the wait was announced when it was set; step.skipped, task.completed | failed | cancelled
--   returns how many became ready
create or replace function tasker_wake_due (p_limit int)
  returns int
  language plpgsql
as $$
declare
  v_now timestamptz := tasker_clock();
  v_woken int;
  v_skipped_tasks bigint[];
  v_skipped_steps int[];
begin
  with due as (
    delete from tasker_delayed q
     where q.ctid = any(array(select d.ctid from tasker_delayed d where d.run_at <= v_now order by d.run_at limit p_limit for update skip locked))
    returning q.task_no, q.step_no, q.run_at
  ),
  woken as (
    update tasker_step s
       set state = case when s.bypass then 7 else 1 end, finished_at = case when s.bypass then v_now end
      from (select * from due where abs(task_no) = task_no order by task_no, step_no) due   -- see tasker_complete_batch on abs
     where s.task_no = due.task_no and s.step_no = due.step_no
       and case when s.state = 3 or s.state = 0 and s.pending = 0 then true end
    returning s.task_no, s.step_no, s.definition_id, s.paused, s.gated, s.state, s.attempts,
              case when s.state = 1 and s.error ->> 'type' = 'worker_crashed' then least(due.run_at, tasker_ready_since(s.task_no, s.step_no)) else due.run_at end as run_at
  ),
  ready as (
    insert into tasker_ready (rank, task_no, step_no, definition_id)
    select case when w.paused then 'infinity' else w.run_at - (select t.priority from tasker_task t where t.task_no = w.task_no) * interval '1 minute' end,
           w.task_no, w.step_no, case when w.paused or w.gated then -w.definition_id else w.definition_id end
      from woken w where w.state = 1
     order by w.run_at
  ),
  history as (
    insert into tasker_history (task_no, step_no, at, from_state, to_state, attempt)
    select w.task_no, w.step_no, v_now, 0, 7, w.attempts from woken w where w.state = 7
  )
  select count(*) filter (where w.state = 1), array_agg(w.task_no) filter (where w.state = 7), array_agg(w.step_no) filter (where w.state = 7)
    into v_woken, v_skipped_tasks, v_skipped_steps
    from woken w;
  if v_skipped_tasks is not null then
    perform tasker_count_off(tasker_unlock_children(v_skipped_tasks, v_skipped_steps));
  end if;
  return v_woken;
end
$$;
