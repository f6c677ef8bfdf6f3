-- tasker_last_event: the number of the newest thing that is on record about a task.
create or replace function tasker_last_event (p_task_no bigint)
  returns bigint
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
begin
  -- the offset keeps the planner from walking all events backwards until it meets this task's
  return (select max(e.event_id)
            from (select h.event_id from tasker_history h where h.task_no = p_task_no
                  union all select c.event_no from tasker_custom_event c where c.task_no = p_task_no offset 0) e);
end
$$;
