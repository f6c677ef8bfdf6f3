-- tasker_submit_tasks: makes tasks, commits, and then wakes idle engines: what tasker_create_tasks does within somebody's transaction, in one round trip.
--   To be called outside a transaction. NOTIFY lets one transaction of the whole server commit at a time, so it has one of its own, which writes nothing.
--   A request that comes alone is served by tasker_create_plain_task if it can be: somebody waits for it.
--   p_requests  as of tasker_create_tasks
--   returns the ids in the order of the requests, and whether each task is new
--   moves, locks, events, raises  as tasker_create_tasks; 54000 where the server's queue of notifications is full, and then the tasks are on record
create or replace procedure tasker_submit_tasks (p_requests jsonb, out p_task_ids uuid[], out p_created boolean[])
  language plpgsql
as $$
begin
  if jsonb_array_length(p_requests) = 1 then
    p_task_ids := array [tasker_create_plain_task(p_requests -> 0)];
    p_created := '{t}';
  end if;
  if p_task_ids[1] is null then
    select array_agg(t.task_id order by t.place), array_agg(t.created order by t.place) into p_task_ids, p_created
      from tasker_create_tasks(p_requests, false) t;
  end if;
  commit;
  perform pg_notify('tasker_ready', '');
end
$$;
