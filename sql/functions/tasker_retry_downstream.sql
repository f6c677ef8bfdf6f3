-- tasker_retry_downstream: an operator lets a step that has ended, and everything below it, run again, with a new context if one is given.
--   p_context  null keeps the task's context; otherwise valid already, and the old one is kept in the history
--   moves  the step -> ready (pending while a parent is open), every step below it -> pending, with attempts anew; results and errors are cleared,
--          the history keeps them. The task, completed or failed -> running
--   locks  its queue rows, then all of its steps by step_no, step 0 among them as tasker_hold_steps needs it, then the task
--   raises WF001 unknown task or step, WF002 when the step has not ended, a step of the task is running, the task was cancelled, or a step to
--          run again was tried as often as can be counted; 40001 when a map step made its items in this moment: they are not held, and the
--          caller starts again
--   events none of its own; the history says who and why
-- Nothing of the task may run meanwhile: the engine that holds a step of it would go on with the results and the context it knows.
create or replace function tasker_retry_downstream (p_task_id uuid, p_step_name text, p_context jsonb, p_actor text, p_reason text)
  returns text
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_step_no int := tasker_step_no(v_task_no, p_step_name);
  v_now timestamptz := tasker_clock();
  v_made int := (select t.item_count from tasker_task t where t.task_no = v_task_no);
  v_reset int[];
  v_items int[];
  v_running text;
  v_move bigint;
  v_task tasker_task;
  v_step tasker_step;
begin
  perform tasker_hold_queues(array[v_task_no]);
  perform from tasker_step s where s.task_no = v_task_no order by s.step_no for update;
  select t.* into v_task from tasker_task t where t.task_no = v_task_no for update;
  if not found then
    raise exception 'the task was dropped in this moment' using errcode = 'WF001';
  end if;
  if v_task.item_count <> v_made then
    raise exception 'a map step made its items while the task was being held' using errcode = '40001';
  end if;
  select s.* into v_step from tasker_step s where s.task_no = v_task_no and s.step_no = v_step_no;
  if v_step.map_no is not null then
    raise exception 'an item is made anew with its step; retry that with everything downstream' using errcode = 'WF002';
  end if;
  if v_step.state in (0, 1, 2, 3) then
    raise exception 'the step is %, only one that has ended can be retried with everything downstream', tasker_state_name(v_step.state) using errcode = 'WF002';
  end if;
  select string_agg(tasker_step_name(p.name, s.item_no), ', ' order by s.step_no) into v_running
    from tasker_step s join tasker_template p on p.definition_id = s.definition_id and p.step_no = coalesce(s.map_no, s.step_no)
   where s.task_no = v_task_no and s.state = 2;
  if v_running is not null then
    raise exception 'still running: %; wait for it, or cancel it first', v_running using errcode = 'WF002';
  end if;
  perform tasker_refuse_cancelled(v_task_no);

  v_reset := tasker_downstream(v_task_no, v_step_no);
  if v_reset = '{}' then
    raise exception 'a step that it waits for was cancelled or did not choose it; retry that one with everything downstream' using errcode = 'WF002';
  end if;
  perform tasker_refuse_spent(v_task_no, v_reset);
  -- items are made anew with their map step; those of before stay on record, and what of them could still move is over
  v_items := array(select s.step_no from tasker_step s where s.task_no = v_task_no and s.map_no = any(v_reset) and s.state not in (4, 7, 8));
  delete from tasker_ready r where r.task_no = v_task_no and r.step_no = any(v_reset || v_items);
  delete from tasker_waiting w where w.task_no = v_task_no and w.step_no = any(v_reset || v_items);
  delete from tasker_delayed d where d.task_no = v_task_no and d.step_no = any(v_reset || v_items);

  insert into tasker_history (task_no, step_no, at, from_state, to_state, actor, reason, detail)
  select v_task_no, s.step_no, v_now, s.state, 0, p_actor, p_reason, jsonb_build_object('reset', true, 'result', s.result)
    from tasker_step s where s.task_no = v_task_no and s.step_no = any(v_reset) and s.state <> 0 order by s.step_no;
  insert into tasker_history (task_no, step_no, at, from_state, to_state, actor, reason, detail)
  select v_task_no, s.step_no, v_now, s.state, 7, p_actor, p_reason, '{"reset": true}'
    from tasker_step s where s.task_no = v_task_no and s.step_no = any(v_items) order by s.step_no;
  update tasker_step s set state = 7, finished_at = v_now, counted = false, paused = false where s.task_no = v_task_no and s.step_no = any(v_items);
  update tasker_step s
     set state = 0, pending = parent.open, retry_limit = least(s.attempts + p.retry_limit, 32767), paused = v_task.paused,
         bypass = s.bypass and s.step_no <> v_step_no, cancel_requested = false, passed_over = false, first_item = null, item_count = null,
         finished_at = null, result = null, error = null
    from tasker_template p
   cross join lateral (select count(*) filter (where o.state not in (4, 7, 8) or o.step_no = any(v_reset))::int as open
                         from unnest(p.parents) as x (step_no)
                        cross join lateral (select k.step_no, k.state from tasker_step k where k.task_no = v_task_no and k.step_no = x.step_no offset 0) o) parent
   where s.task_no = v_task_no and s.step_no = any(v_reset) and p.definition_id = v_task.definition_id and p.step_no = s.step_no;
  -- like a root whose time has come, but at once
  update tasker_step s set state = 1 where s.task_no = v_task_no and s.step_no = v_step_no and s.pending = 0;
  if found then
    insert into tasker_ready (rank, task_no, step_no, definition_id)
    values (case when v_task.paused then 'infinity' else v_now - v_task.priority * interval '1 minute' end, v_task_no, v_step_no,
            case when v_task.paused or (select s.gated from tasker_step s where s.task_no = v_task_no and s.step_no = v_step_no)
                 then -v_task.definition_id else v_task.definition_id end);
    perform pg_notify('tasker_ready', '');
  end if;

  if p_context is not null and p_context is distinct from v_task.context then
    insert into tasker_history (task_no, at, from_state, to_state, actor, reason, detail)
    values (v_task_no, v_now, v_task.state, v_task.state, p_actor, p_reason, jsonb_build_object('context_before', v_task.context))
    returning event_id into v_move;
    update tasker_task t set context = p_context, context_since = v_move where t.task_no = v_task_no;
    -- what waits before a limit lines up anew, where the new context says
    with moved as (
      delete from tasker_waiting w where w.task_no = v_task_no returning w.step_no, w.rank
    )
    update tasker_ready r set rank = m.rank from moved m where r.task_no = v_task_no and r.step_no = m.step_no and r.definition_id < 0;
  end if;
  perform tasker_recount_task(v_task_no, p_actor, p_reason);
  perform pg_notify('tasker_news', '');
  return (select tasker_state_name(s.state) from tasker_step s where s.task_no = v_task_no and s.step_no = v_step_no);
end
$$;
