-- tasker_steps: steps in words. One row per step of every task; always ask for one task.
create or replace view tasker_steps as
select tasker_step_id(s.task_no, s.step_no) as step_id, t.task_id, s.task_no, s.step_no, tasker_step_name(p.name, s.item_no) as name, tasker_state_name(s.state) as state, s.attempts,
       s.retry_limit, s.bypass, s.cancel_requested, s.worker_id, s.started_at, s.finished_at, s.result, s.error, p.handler, p.parents, coalesce(s.children, '{}') as children,
       s.passed_over, s.map_no, s.item_no, s.item, s.item_count
  from tasker_step s
  join tasker_task t using (task_no)
  join tasker_template p on p.definition_id = s.definition_id and p.step_no = coalesce(s.map_no, s.step_no);
