-- tasker_gather_items: a map step whose items are done ends with the list of their results, in order; an item that was skipped gives null.
--   p_step  the map step, running under the worker
--   moves  running -> completed, children as tasker_complete_few; -> failed when the results are too large together (result_too_large)
--   locks, fence, events  as tasker_complete_few, or tasker_fail_steps
create or replace function tasker_gather_items (p_worker int, p_step tasker_step)
  returns void
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  c_bytes constant bigint := 16777216;   -- of all results as text
  v_bytes bigint;
begin
  select sum(octet_length(s.result::text) + 2) into v_bytes
    from tasker_step s
   where s.task_no = p_step.task_no and s.step_no >= p_step.first_item and s.step_no < p_step.first_item + p_step.item_count;
  if v_bytes > c_bytes then
    perform tasker_fail_steps(p_worker, array[p_step.task_no], array[p_step.step_no], array[p_step.attempts], jsonb_build_array(jsonb_build_object(
      'type', 'result_too_large', 'message', format('the results of the items are %s bytes together; the limit is %s', v_bytes, c_bytes),
      'code', null, 'traceback', '', 'retryable', false, 'delay', null)));
    return;
  end if;
  -- it began when it made its items, not when they were done
  update tasker_step s
     set started_at = (select min(h.at) from tasker_history h
                        where h.task_no = p_step.task_no and h.step_no = p_step.step_no and h.to_state = 2 and h.attempt = p_step.attempts)
   where s.task_no = p_step.task_no and s.step_no = p_step.step_no and s.state = 2 and s.worker_id = p_worker and s.attempts = p_step.attempts;
  perform from tasker_complete_few(p_worker, 0, array[p_step.task_no], array[p_step.step_no], array[p_step.attempts],
    (select jsonb_build_array(jsonb_agg(coalesce(s.result, 'null') order by s.step_no))
       from tasker_step s
      where s.task_no = p_step.task_no and s.step_no >= p_step.first_item and s.step_no < p_step.first_item + p_step.item_count), 0);
end
$$;
