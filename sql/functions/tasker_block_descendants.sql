-- tasker_block_descendants: what follows when steps have just failed or been cancelled for good.
--   The first time in a task everything is counted anew; later only the newly blocked steps are taken off the count.
--   moves  descendants of a cancelled step -> cancelled; task -> its final state when nothing can progress
--   locks  what can move in a task to be counted anew, and what is blocked in the others, by (task_no, step_no); then tasks by task_no.
--          The caller has taken the queue rows and steps of the tasks in tasker_recount_due before it moved the first step
--   events step.cancelled, task.failed | cancelled
create or replace function tasker_block_descendants (p_task_nos bigint[], p_step_nos int[])
  returns void
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_now timestamptz := tasker_clock();
  v_recount bigint[] := tasker_recount_due(p_task_nos, p_step_nos);
  v_blocked_tasks bigint[];
  v_blocked_steps int[];
  v_off bigint[];
  v_task record;
begin
  with recursive blocked (task_no, step_no) as (
    select ended.task_no, c.step_no
      from unnest(p_task_nos, p_step_nos) as ended (task_no, step_no)
     cross join lateral (select k.children from tasker_step k where k.task_no = ended.task_no and k.step_no = ended.step_no offset 0) s,
           unnest(s.children) as c (step_no)
     where ended.task_no <> all(v_recount)
    union
    select b.task_no, c.step_no
      from blocked b
     cross join lateral (select k.children from tasker_step k where k.task_no = b.task_no and k.step_no = b.step_no and k.state = 0 offset 0) s,
           unnest(s.children) as c (step_no)
  )
  select array_agg(b.task_no), array_agg(b.step_no) into v_blocked_tasks, v_blocked_steps from blocked b;

  perform tasker_hold_steps(v_blocked_tasks, v_blocked_steps, v_recount);

  with recursive lost (task_no, step_no) as (
    select ended.task_no, c.step_no
      from unnest(p_task_nos, p_step_nos) as ended (task_no, step_no)
     cross join lateral (select k.children from tasker_step k where k.task_no = ended.task_no and k.step_no = ended.step_no and k.state = 6 offset 0) s,
           unnest(s.children) as c (step_no)
    union
    select l.task_no, c.step_no
      from lost l
     cross join lateral (select k.children from tasker_step k where k.task_no = l.task_no and k.step_no = l.step_no and k.state = 0 offset 0) s,
           unnest(s.children) as c (step_no)
  ),
  cancelled as (
    update tasker_step s set state = 6, finished_at = v_now
      from (select distinct l.task_no, l.step_no from lost l where abs(l.task_no) = l.task_no) l   -- see tasker_complete_batch on abs
     where s.task_no = l.task_no and s.step_no = l.step_no and case when s.state = 0 then true end
    returning s.task_no, s.step_no
  )
  insert into tasker_history (task_no, step_no, at, from_state, to_state, reason)
  select c.task_no, c.step_no, v_now, 0, 6, 'a step it waits for was cancelled' from cancelled c order by 1, 2;

  with uncounted as (
    update tasker_step s set counted = false
      from (select b.task_no, b.step_no from unnest(v_blocked_tasks, v_blocked_steps) as b (task_no, step_no) where abs(b.task_no) = b.task_no) b
     where s.task_no = b.task_no and s.step_no = b.step_no and case when s.state = 0 and s.counted then true end
    returning s.task_no
  )
  select array_agg(u.task_no) into v_off from uncounted u;

  for v_task in
    select ended.task_no, count(*) filter (where s.state = 5) as failed, count(*) filter (where s.state = 6) as cancelled
      from unnest(p_task_nos, p_step_nos) as ended (task_no, step_no)
     cross join lateral (select k.state from tasker_step k where k.task_no = ended.task_no and k.step_no = ended.step_no offset 0) s
     group by 1 order by 1
  loop
    if v_task.task_no = any(v_recount) then
      perform tasker_recount_task(v_task.task_no);
      continue;
    end if;
    update tasker_task t set failed_count = t.failed_count + v_task.failed, cancelled_count = t.cancelled_count + v_task.cancelled
     where t.task_no = v_task.task_no;
    perform tasker_count_off(array(select o.task_no from unnest(p_task_nos || v_off) as o (task_no) where o.task_no = v_task.task_no));
  end loop;
end
$$;
