-- tasker_tasks: tasks in words, for people, lists and reports. One row per task; no counting of steps, so a page of it is cheap.
create or replace view tasker_tasks as
select t.task_id, t.task_no, d.namespace, d.name, d.version, tasker_state_name(t.state) as state, t.paused, t.priority, t.tags, t.initiator,
       t.reason, t.source_system, t.correlation_id, t.context, t.created_at, t.started_at, t.finished_at, t.run_at, t.cancel_requested_at,
       d.step_count + t.item_count as step_count, t.failed_count, t.cancelled_count, t.definition_id, t.state as state_code, t.parent_task_id, t.parent_step
  from tasker_task t
  join tasker_definition d using (definition_id);
