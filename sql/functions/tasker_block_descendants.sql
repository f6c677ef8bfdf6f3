-- tasker_block_descendants: what follows when a step has just failed or been cancelled for good.
--   The first time in a task everything is counted anew; later only the newly blocked steps are taken off the count.
--   moves  descendants of a cancelled step -> cancelled; task -> its final state when nothing can progress
--   locks  as tasker_recount_task     events step.cancelled, task.failed | cancelled
create or replace function tasker_block_descendants (p_task_no bigint, p_step_no int)
  returns void
  language plpgsql
as $$
declare
  v_step tasker_step;
  v_now timestamptz := tasker_clock();
  v_off int;
  v_counts_all boolean;
begin
  select s.* into v_step from tasker_step s where s.task_no = p_task_no and s.step_no = p_step_no;
  select t.failed_count + t.cancelled_count > 0 into v_counts_all from tasker_task t where t.task_no = p_task_no;
  if v_step.state = 6 and v_step.children is not null then
    with recursive blocked (step_no) as (
      select c.step_no from unnest(v_step.children) as c (step_no)
      union
      select c.step_no
        from blocked b join tasker_step s on s.task_no = p_task_no and s.step_no = b.step_no and s.state = 0, unnest(s.children) as c (step_no)
    ),
    ordered as materialized (
      select s.step_no from tasker_step s join blocked b on b.step_no = s.step_no
       where s.task_no = p_task_no and s.state = 0 order by s.step_no for update of s
    ),
    cancelled as (
      update tasker_step s set state = 6, finished_at = v_now from ordered o
       where s.task_no = p_task_no and s.step_no = o.step_no and s.state = 0
      returning s.step_no
    )
    insert into tasker_history (task_no, step_no, at, from_state, to_state, reason)
    select p_task_no, c.step_no, v_now, 0, 6, 'a step it waits for was cancelled' from cancelled c;
    v_counts_all := false;
  end if;
  if not v_counts_all or not v_step.counted then
    perform tasker_recount_task(p_task_no);
    return;
  end if;
  with recursive blocked (step_no) as (
    select c.step_no from unnest(v_step.children) as c (step_no)
    union
    select c.step_no
      from blocked b join tasker_step s on s.task_no = p_task_no and s.step_no = b.step_no and s.state = 0, unnest(s.children) as c (step_no)
  ),
  ordered as materialized (
    select s.step_no from tasker_step s join blocked b on b.step_no = s.step_no
     where s.task_no = p_task_no and s.state = 0 and s.counted order by s.step_no for update of s
  ),
  uncounted as (
    update tasker_step s set counted = false from ordered o
     where s.task_no = p_task_no and s.step_no = o.step_no and s.state = 0 and s.counted
    returning s.step_no
  )
  select count(*) into v_off from uncounted;
  update tasker_task t set failed_count = t.failed_count + (v_step.state = 5)::int, cancelled_count = t.cancelled_count + (v_step.state = 6)::int
   where t.task_no = p_task_no;
  perform tasker_count_off(array_fill(p_task_no, array[v_off + 1]));
end
$$;
