-- tasker_publish_event: a handler tells of something in its task; subscribers receive it among the task's own events.
--   returns the event's id     raises WF001 unknown task or step
create or replace function tasker_publish_event (p_type text, p_task_id uuid, p_step_name text, p_data jsonb)
  returns bigint
  language plpgsql
as $$
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_step_no int := case when p_step_name is not null then tasker_step_no(v_task_no, p_step_name) end;
  v_event_no bigint;
begin
  perform pg_current_xact_id();   -- before the number is taken: see tasker_event_horizon
  v_event_no := nextval(pg_get_serial_sequence('tasker_history', 'event_id')::regclass);
  insert into tasker_custom_event (event_no, at, type, task_no, step_no, data)
  values (v_event_no, tasker_clock(), p_type, v_task_no, v_step_no, p_data);
  perform pg_notify('tasker_news', '');
  return v_event_no * 2;
end
$$;
