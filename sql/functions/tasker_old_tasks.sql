-- tasker_old_tasks: the tasks of a definition that were made longer ago than its namespace keeps them, oldest first, and what still keeps each.
--   p_after  go on behind this task     p_hold  how much longer a task waits for subscribers that have not read all its events
--   returns up to p_limit tasks; fewer: there are no more. kept_for is null when the task may be dropped, else
--           open    it has not ended, or not for long enough
--           unread  a subscriber has not come to its last event, and p_hold is not over; or the roll-ups have not counted its last move
create or replace function tasker_old_tasks (p_definition int, p_after bigint, p_limit int, p_hold interval)
  returns table (task_no bigint, kept_for text)
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: these few tasks are a small part of the tables
  set enable_sort = off      -- nor may it read a whole index for want of an order: tasker_task_of_definition has it
as $$
#variable_conflict use_column
declare
  v_begin timestamptz := tasker_retention_begin(p_definition);
  v_read bigint := (select min(s.event_id) from tasker_subscription s);
  v_counted_to bigint := coalesce((select p.counted_to from tasker_rollup_place p), 0);
begin
  return query
  select t.task_no,
         case when t.finished_at is null or t.finished_at >= v_begin then 'open'
              when v_read < 2 * tasker_last_event(t.task_no) and t.finished_at >= v_begin - p_hold then 'unread'
              when v_counted_to < (select max(h.event_id) from (select k.event_id from tasker_history k where k.task_no = t.task_no offset 0) h) then 'unread' end
    from (select k.task_no, k.created_at, k.finished_at from tasker_task k
           where k.definition_id = p_definition and (k.definition_id, k.task_no) > (p_definition, p_after)
           order by k.definition_id, k.task_no limit p_limit) t   -- the limit comes first: recent tasks are not looked through
   where t.created_at < v_begin;
end
$$;
