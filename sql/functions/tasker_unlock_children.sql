-- tasker_unlock_children: what follows when steps were satisfied outside the fast path (skipped, resolved, decided): their children have one parent less
--   to wait for.
--   p_task_nos, p_step_nos  steps that have just become skipped or resolved
--   moves  pending -> ready, or -> skipped when bypassed or when every parent was passed over, and so on down
--   locks  children by (task_no, step_no); who passes steps over holds the whole task already, so that it sees what became of every parent
--   events step.skipped
--   returns the tasks to count off, one entry per counted step that has ended: the caller's next call is tasker_count_off or tasker_recount_task
create or replace function tasker_unlock_children (p_task_nos bigint[], p_step_nos int[])
  returns bigint[]
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_now timestamptz := tasker_clock();
  v_task_nos bigint[] := p_task_nos;
  v_step_nos int[] := p_step_nos;
  v_counted bigint[] := '{}';
begin
  while v_task_nos is not null loop
    v_counted := v_counted || array(
      select p.task_no
        from unnest(v_task_nos, v_step_nos) as p (task_no, step_no)
       cross join lateral (select from tasker_step k where k.task_no = p.task_no and k.step_no = p.step_no and k.counted offset 0) s);
    with child as (
      select p.task_no, c.step_no, count(*)::int as parents_done, bool_and(s.passed_over) and tasker_is_passed_over(p.task_no, c.step_no) as passed_over
        from unnest(v_task_nos, v_step_nos) as p (task_no, step_no)
       cross join lateral (select k.children, k.passed_over from tasker_step k
                            where k.task_no = p.task_no and k.step_no = p.step_no offset 0) s,
             unnest(s.children) as c (step_no)
       group by 1, 2 having abs(count(*)) = count(*) order by 1, 2   -- see tasker_complete_batch on abs
    ),
    unlocked as (
      update tasker_step s
         set pending = s.pending - child.parents_done,
             state = case when s.pending <> child.parents_done or s.state <> 0 then s.state when s.bypass or child.passed_over then 7 else 1 end,
             passed_over = s.passed_over or s.pending = child.parents_done and s.state = 0 and child.passed_over,
             finished_at = case when s.pending = child.parents_done and s.state = 0 and (s.bypass or child.passed_over) then v_now else s.finished_at end
        from child
       where s.task_no = child.task_no and s.step_no = child.step_no
      returning s.task_no, s.step_no, s.definition_id, s.paused, s.gated, s.passed_over,
                case when s.pending = 0 and (s.state = 1 or s.state = 7 and s.finished_at = v_now) then s.state end as state   -- not one skipped before
    ),
    ready as (
      insert into tasker_ready (rank, task_no, step_no, definition_id)
      select case when u.paused then 'infinity' else v_now - (select t.priority from tasker_task t where t.task_no = u.task_no) * interval '1 minute' end,
             u.task_no, u.step_no, case when u.paused or u.gated then -u.definition_id else u.definition_id end
        from unlocked u where u.state = 1
    ),
    history as (
      insert into tasker_history (task_no, step_no, at, from_state, to_state, reason)
      select u.task_no, u.step_no, v_now, 0, 7, case when u.passed_over then 'every step before it was passed over' end from unlocked u where u.state = 7
    )
    select array_agg(u.task_no), array_agg(u.step_no) into v_task_nos, v_step_nos from unlocked u where u.state = 7;
  end loop;
  return v_counted;
end
$$;
