-- tasker_expand_step: a map step is due: it makes one item per element of its list and waits for them; when they are done, it ends with their results.
--   The engine calls it for every map step it claims, whichever of the two is due. The first costs no attempt, as the step will be claimed again.
--   moves  running -> pending, its items come into being as ready; -> completed with [] for an empty list, or when its items are done;
--          -> failed when the list is none (not_a_list) or too long (too_many_items)
--   locks  the map step, then its task; when it ends, as tasker_gather_items or tasker_fail_steps
--   fence  state, worker and attempt     raises 40001 when another map step of the task makes its items in this moment     events step.completed, step.failed
create or replace function tasker_expand_step (p_worker int, p_task_no bigint, p_step_no int, p_attempt smallint)
  returns void
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  c_items constant int := 10000;         -- of one map step
  c_steps constant int := 50000;         -- of one task, items included
  v_now timestamptz := tasker_clock();
  v_step tasker_step;
  v_template tasker_template;
  v_list jsonb;
  v_count int;
  v_steps int;
  v_items int;
  v_lost boolean;
  v_task tasker_task;
  v_problem jsonb;
begin
  select s.* into v_step from tasker_step s
   where s.task_no = p_task_no and s.step_no = p_step_no and s.state = 2 and s.worker_id = p_worker and s.attempts = p_attempt;
  if not found then
    return;
  end if;
  if v_step.first_item is not null and not v_step.cancel_requested then
    perform tasker_gather_items(p_worker, v_step);
    return;
  end if;

  select p.* into v_template from tasker_template p where p.definition_id = v_step.definition_id and p.step_no = p_step_no;
  -- a step that was skipped gives nothing to work on
  select case when o.state = 7 then '[]' else o.result #> v_template.for_each_path end into v_list
    from tasker_step o where o.task_no = p_task_no and o.step_no = v_template.for_each;
  v_count := case when jsonb_typeof(v_list) = 'array' then jsonb_array_length(v_list) end;
  select t.item_count, d.step_count + t.item_count + v_count into v_items, v_steps
    from tasker_task t join tasker_definition d using (definition_id) where t.task_no = p_task_no;
  v_problem := case
    when v_step.cancel_requested then jsonb_build_object('type', 'cancelled', 'message', 'stopped on request')
    when v_count is null then jsonb_build_object('type', 'not_a_list', 'message', format('%s, which gives this step its items, is %s, not a list',
      (select array_to_string(p.name || v_template.for_each_path, '.') from tasker_template p where p.definition_id = v_step.definition_id and p.step_no = v_template.for_each),
      coalesce(case jsonb_typeof(v_list) when 'object' then 'an object' when 'null' then null else 'a ' || jsonb_typeof(v_list) end, 'nothing')))
    when v_count > c_items then jsonb_build_object('type', 'too_many_items', 'message', format('the list has %s items; the limit is %s', v_count, c_items))
    when v_steps > c_steps then jsonb_build_object('type', 'too_many_items', 'message', format('the task would have %s steps; the limit is %s', v_steps, c_steps))
  end;
  if v_problem is not null then
    perform tasker_fail_steps(p_worker, array[p_task_no], array[p_step_no], array[p_attempt],
                              jsonb_build_array(v_problem || '{"code": null, "traceback": "", "retryable": false, "delay": null}'));
    return;
  end if;

  if v_count = 0 then
    update tasker_step s set first_item = 0, item_count = 0
     where s.task_no = p_task_no and s.step_no = p_step_no and s.state = 2 and s.worker_id = p_worker and s.attempts = p_attempt;
    perform from tasker_complete_few(p_worker, 0, array[p_task_no], array[p_step_no], array[p_attempt], '[[]]', 0);
    return;
  end if;

  perform from tasker_step s
    where s.task_no = p_task_no and s.step_no = p_step_no and s.state = 2 and s.worker_id = p_worker and s.attempts = p_attempt and not s.cancel_requested
      for update;
  if not found then
    raise exception 'the map step has moved' using errcode = '40001';
  end if;
  select t.* into v_task from tasker_task t where t.task_no = p_task_no for update;
  if v_task.item_count <> v_items then
    raise exception 'another map step has made its items' using errcode = '40001';
  end if;
  v_items := v_items + v_count;
  v_lost := v_task.failed_count + v_task.cancelled_count > 0;   -- then every step that can move is counted, see tasker_recount_task
  update tasker_task t
     set item_count = v_items, remaining = t.remaining + case when v_lost then v_count else 0 end
   where t.task_no = p_task_no;
  update tasker_step s
     set state = 0, worker_id = null, attempts = s.attempts - 1, pending = v_count, first_item = -v_items, item_count = v_count
   where s.task_no = p_task_no and s.step_no = p_step_no;
  insert into tasker_history (task_no, step_no, at, from_state, to_state, worker_id, reason)
  values (p_task_no, p_step_no, v_now, 2, 0, p_worker, format('made %s %s', v_count, case when v_count = 1 then 'item' else 'items' end));
  insert into tasker_step (task_no, step_no, definition_id, pending, state, retry_limit, counted, paused, gated, children, map_no, item_no, item)
  select p_task_no, element.place::int - 1 - v_items, v_step.definition_id, 0, 1, v_template.retry_limit,
         v_lost, v_task.paused, v_template.gated, array[p_step_no], p_step_no, element.place::int - 1, element.value
    from jsonb_array_elements(v_list) with ordinality as element (value, place);
  insert into tasker_ready (rank, task_no, step_no, definition_id)
  select case when v_task.paused then 'infinity' else v_now - v_task.priority * interval '1 minute' end, p_task_no, place - v_items,
         case when v_task.paused or v_template.gated then -v_step.definition_id else v_step.definition_id end
    from generate_series(0, v_count - 1) as place;
  perform pg_notify('tasker_ready', '');
end
$$;
