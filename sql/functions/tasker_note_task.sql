-- tasker_note_task: a person's remark stands in the history of a task, open or ended.
--   moves  nothing     locks  nothing: the row tells the state it was written in, and a note is no event
--   raises WF001 unknown task     events none
create or replace function tasker_note_task (p_task_id uuid, p_actor text, p_note text)
  returns void
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_no bigint := tasker_task_no(p_task_id);
begin
  insert into tasker_history (task_no, at, from_state, to_state, actor, reason, detail)
  select t.task_no, tasker_clock(), t.state, t.state, p_actor, p_note, '{"note": true}'
    from tasker_task t where t.task_no = v_task_no;
  perform pg_notify('tasker_news', '');
end
$$;
