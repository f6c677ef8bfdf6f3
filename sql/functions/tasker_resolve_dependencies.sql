-- tasker_resolve_dependencies: brings a task to where its steps' states say it should be: unlocks what has no open parent left, and settles the task.
--   After tasker_update_step_status it does what the engine's own path does at once. Calling it when nothing has changed changes nothing.
--   moves  pending -> ready | skipped (also what no decision chose), descendants of a cancelled step -> cancelled, task -> its state     locks  as tasker_hold_tasks, then the task
--   returns the steps that became ready     raises WF001 unknown task     events step.skipped, step.cancelled, task.*
create or replace function tasker_resolve_dependencies (p_task_id uuid)
  returns table (step_id bigint, step_name text)
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
#variable_conflict use_column
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_now timestamptz := tasker_clock();
  v_step record;
  v_ready int[] := '{}';
begin
  perform tasker_hold_tasks(array[v_task_no]);
  for v_step in
    select s.step_no, s.definition_id, s.bypass, p.parents, t.priority, s.first_item, s.item_count
      from tasker_step s join tasker_template p using (definition_id, step_no) join tasker_task t using (task_no)
     where s.task_no = v_task_no and s.state = 0 and p.parents <> '{}'   -- a root waits for its time: tasker_wake_due
     order by s.step_no
  loop
    update tasker_step s
       set pending = parent.open,
           state = case when parent.lost > 0 then 6 when passed.over then 7 when parent.open > 0 then 0 when v_step.bypass then 7 else 1 end,
           passed_over = passed.over and parent.lost = 0,
           finished_at = case when parent.lost > 0 or passed.over or parent.open = 0 and v_step.bypass then v_now end
      from (select count(*) filter (where o.state not in (4, 7, 8))::int as open, count(*) filter (where o.state = 6) as lost
              from tasker_step o where o.task_no = v_task_no and (o.step_no = any(v_step.parents) or o.step_no between v_step.first_item and v_step.first_item + v_step.item_count - 1)) parent,
           tasker_is_passed_over(v_task_no, v_step.step_no) as passed (over)
     where s.task_no = v_task_no and s.step_no = v_step.step_no and case when s.state = 0 then true end
       and (s.pending <> parent.open or parent.lost > 0 or parent.open = 0 or passed.over);
    continue when not found;
    insert into tasker_history (task_no, step_no, at, from_state, to_state, reason)
    select s.task_no, s.step_no, v_now, 0, s.state, case when s.passed_over then 'no decision chose a way to it' end from tasker_step s
     where s.task_no = v_task_no and s.step_no = v_step.step_no and s.state in (6, 7);
    insert into tasker_ready (rank, task_no, step_no, definition_id)
    select case when s.paused then 'infinity' else v_now - v_step.priority * interval '1 minute' end, s.task_no, s.step_no,
           case when s.paused or s.gated then -s.definition_id else s.definition_id end
      from tasker_step s
     where s.task_no = v_task_no and s.step_no = v_step.step_no and s.state = 1;
    if found then
      v_ready := v_ready || v_step.step_no;
    end if;
  end loop;
  perform tasker_recount_task(v_task_no);
  if v_ready <> '{}' then
    perform pg_notify('tasker_ready', '');
  end if;
  perform pg_notify('tasker_news', '');
  return query
  select tasker_step_id(s.task_no, s.step_no), p.name
    from tasker_step s join tasker_template p using (definition_id, step_no)
   where s.task_no = v_task_no and s.step_no = any(v_ready) order by s.step_no;
end
$$;
