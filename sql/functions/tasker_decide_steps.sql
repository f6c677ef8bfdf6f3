-- tasker_decide_steps: decisions end well: the children they chose go on, the others are passed over, and so is what only these lead to.
--   p_choices  one JSON list per step: the names of those of its children that go on
--   moves  running -> completed; children -> skipped, the chosen as tasker_unlock_children; task -> its state
--   locks  as tasker_hold_tasks, then the tasks     fence  state, worker and attempt     events step.completed, step.skipped, task.*
--   raises 22023 when a choice is no list of the step's children
create or replace function tasker_decide_steps (p_worker int, p_task_nos bigint[], p_step_nos int[], p_attempts smallint[], p_choices jsonb)
  returns void
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_decided record;
  v_step tasker_step;
  v_passed int[];
  v_ended int := 0;
begin
  perform tasker_hold_tasks(array(select distinct t.task_no from unnest(p_task_nos) as t (task_no) order by 1));
  for v_decided in
    select o.task_no, o.step_no, o.attempt, o.chosen
      from rows from (unnest(p_task_nos), unnest(p_step_nos), unnest(p_attempts), jsonb_array_elements(p_choices)) as o (task_no, step_no, attempt, chosen)
     order by o.task_no, o.step_no
  loop
    update tasker_step s
       set state = 4, result = v_decided.chosen, error = null, worker_id = null, finished_at = tasker_clock()
     where s.task_no = v_decided.task_no and s.step_no = v_decided.step_no
       and s.state = 2 and s.worker_id = p_worker and s.attempts = v_decided.attempt
    returning s.* into v_step;
    continue when not found;
    v_ended := v_ended + 1;
    insert into tasker_history (task_no, step_no, at, from_state, to_state, attempt, worker_id)
    values (v_step.task_no, v_step.step_no, v_step.finished_at, 2, 4, v_step.attempts, p_worker);
    v_passed := tasker_pass_over(v_step, v_decided.chosen) || v_step.step_no;
    perform tasker_unlock_children(array_fill(v_step.task_no, array[cardinality(v_passed)]), v_passed);
    perform tasker_recount_task(v_step.task_no);
  end loop;
  if v_ended > 0 then
    perform pg_notify('tasker_ready', '');
  end if;
end
$$;
