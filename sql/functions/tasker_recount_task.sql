-- tasker_recount_task: counts anew which steps of a task can still end, after a step failed or was led out of failure.
--   A leaf count no longer tells when nothing can progress, so from now on every open step that no failed step blocks is counted.
--   moves  task -> failed or cancelled when nothing can progress; a settled task in which something can -> running
--   locks  the task; the caller holds everything in it that can move     events task.failed | cancelled | completed when it settles
create or replace function tasker_recount_task (p_task_no bigint, p_actor text default null, p_reason text default null)
  returns smallint
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task tasker_task;
  v_remaining int;
  v_failed int;
  v_cancelled int;
  v_state smallint;
begin
  select t.* into v_task from tasker_task t where t.task_no = p_task_no for update;

  with recursive blocked (step_no) as (
    select c.step_no from tasker_step s, unnest(s.children) as c (step_no) where s.task_no = p_task_no and s.state = 5
    union
    select c.step_no
      from blocked b
     cross join lateral (select k.children from tasker_step k where k.task_no = p_task_no and k.step_no = b.step_no and k.state = 0 offset 0) s,
           unnest(s.children) as c (step_no)
  ),
  open as (
    select s.step_no, s.counted, not (s.state = 0 and s.step_no in (select b.step_no from blocked b)) as free
      from tasker_step s where s.task_no = p_task_no and s.state in (0, 1, 2, 3)
  ),
  marked as (
    update tasker_step s set counted = open.free
      from open where s.task_no = p_task_no and s.step_no = open.step_no and case when open.counted <> open.free then true end
  )
  select count(*) filter (where open.free) into v_remaining from open;
  select count(*) filter (where s.state = 5), count(*) filter (where s.state = 6) into v_failed, v_cancelled
    from tasker_step s where s.task_no = p_task_no;

  v_state := case when v_remaining > 0 then case when v_task.started_at is null then 0 else 2 end
                  when v_task.cancel_requested_at is not null then 6 when v_failed > 0 then 5 when v_cancelled > 0 then 6 else 4 end;
  update tasker_task t
     set remaining = v_remaining, failed_count = v_failed, cancelled_count = v_cancelled, state = v_state,
         finished_at = case when v_remaining > 0 then null when v_state = v_task.state then v_task.finished_at else tasker_clock() end
   where t.task_no = p_task_no;
  if v_state <> v_task.state then
    insert into tasker_history (task_no, at, from_state, to_state, actor, reason)
    values (p_task_no, tasker_clock(), v_task.state, v_state, p_actor, p_reason);
  end if;
  return v_state;
end
$$;
