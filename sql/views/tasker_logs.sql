-- tasker_logs: what attempts have logged, in words. One row per line; always ask for one task, in the order of line_no.
create or replace view tasker_logs as
select t.task_id, l.task_no, l.step_no, tasker_step_name(p.name, s.item_no) as step_name, l.attempt, l.line_no, l.at, tasker_level_name(l.level) as level,
       l.message, l.fields, l.level as level_code
  from tasker_log l
  join tasker_task t using (task_no)
  join tasker_step s using (task_no, step_no)
  join tasker_template p on p.definition_id = s.definition_id and p.step_no = coalesce(s.map_no, s.step_no);
