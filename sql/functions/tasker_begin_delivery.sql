-- tasker_begin_delivery: what the token stands for, for the one who is to do it. Once only: a message that comes twice, or too late, gets nothing.
--   locks  the delivery
--   returns the step's data while its engine holds it and lives; no row otherwise
create or replace function tasker_begin_delivery (p_token uuid, p_place text, p_lease interval)
  returns table (
    sender uuid, number bigint, key text, step_no int, template_no int, timeout_ms bigint, attempt smallint, retry_limit int, task_id uuid,
    context text, correlation_id text, traceparent text, map_no int, item_no int, item text)
  language sql
as $$
  with begun as (
    update tasker_delivery d
       set place = p_place, lease_until = tasker_clock() + p_lease
      from tasker_step s
     where d.token = p_token and d.place is null
       and s.task_no = d.task_no and s.step_no = d.step_no and s.state = 2 and s.worker_id = d.worker_id and s.attempts = d.attempt
       and exists (select from tasker_worker w where w.worker_id = d.worker_id and w.lease_until > tasker_clock())
    returning d.sender, d.number, d.task_no, d.attempt, s.definition_id, s.step_no, s.map_no, s.item_no, s.item
  )
  select b.sender, b.number, f.namespace || '/' || f.name || '@' || f.version, b.step_no, p.step_no, p.timeout_ms, b.attempt,
         greatest(p.retry_limit, b.attempt), t.task_id, t.context::text, t.correlation_id, t.traceparent, b.map_no, b.item_no, b.item::text
    from begun b
    join tasker_task t on t.task_no = b.task_no
    join tasker_definition f on f.definition_id = b.definition_id
    join tasker_template p on p.definition_id = b.definition_id and p.step_no = coalesce(b.map_no, b.step_no)
$$;
