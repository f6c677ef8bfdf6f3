-- tasker_count_off: takes ended steps off their tasks' count, and settles a task whose last counted step has ended.
--   p_task_nos  one entry per counted step that ended (a task may stand there several times)
--   moves  task -> completed; failed when a step is failed; cancelled on request, or when steps were cancelled and none failed
--   locks  tasks by task_no     events task.completed | failed | cancelled
create or replace function tasker_count_off (p_task_nos bigint[], p_worker int default null)
  returns void
  language plpgsql
as $$
declare
  v_off record;
  v_task record;
begin
  for v_off in select o.task_no, count(*)::int as ended from unnest(p_task_nos) as o (task_no) group by 1 order by 1 loop
    update tasker_task t
       set remaining = t.remaining - v_off.ended,
           state = case when t.remaining <> v_off.ended then t.state
                        when t.cancel_requested_at is not null then 6 when t.failed_count > 0 then 5 when t.cancelled_count > 0 then 6 else 4 end,
           finished_at = case when t.remaining = v_off.ended then tasker_clock() else t.finished_at end
     where t.task_no = v_off.task_no
    returning t.state, t.remaining, t.finished_at, t.started_at into v_task;
    if v_task.remaining = 0 then
      insert into tasker_history (task_no, at, from_state, to_state, worker_id)
      values (v_off.task_no, v_task.finished_at, case when v_task.started_at is null then 0 else 2 end, v_task.state, p_worker);
    end if;
  end loop;
end
$$;
