-- tasker_create_plain_task: makes the task of a request that asks for nothing out of the ordinary, by one simple insert per table.
--   The one statement of tasker_create_tasks takes longer than these three together, the more so after a rest.
--   p_request  as one of tasker_create_tasks
--   returns the task's id; null, and nothing is made, for a request with an idempotency key, a start to come or steps to pass by, or of a definition no task has used
--   moves  roots -> ready     locks  none     events  none before the first claim
create or replace function tasker_create_plain_task (p_request jsonb)
  returns uuid
  language plpgsql
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now timestamptz := tasker_clock();
  v_task_no bigint;
  v_task_id uuid;
  v_request record;
begin
  perform pg_current_xact_id();   -- before the task takes its number: see tasker_index_words
  if coalesce(p_request ->> 'idempotency_key', p_request ->> 'run_at') is not null or coalesce(p_request ->> 'bypass_steps', '[]') <> '[]' then
    return null;
  end if;
  select field.* into v_request
    from jsonb_to_record(p_request) as field (definition_id int, context jsonb, initiator text, source_system text, reason text,
           tags text[], priority smallint, correlation_id text, traceparent text, parent_task_id uuid, parent_step text)
    join tasker_definition d on d.definition_id = field.definition_id and d.used;
  if not found then
    return null;
  end if;

  insert into tasker_task (task_no, task_id, definition_id, remaining, priority, context, tags, initiator, source_system, reason,
                           correlation_id, traceparent, parent_task_id, parent_step, created_at)
  values (nextval('tasker_task_no'), gen_random_uuid(), v_request.definition_id,
          (select count(*) from tasker_template p where p.definition_id = v_request.definition_id and p.children = '{}'),
          coalesce(v_request.priority, 0::smallint), coalesce(v_request.context, '{}'), coalesce(v_request.tags, '{}'), v_request.initiator, v_request.source_system, v_request.reason,
          v_request.correlation_id, v_request.traceparent, v_request.parent_task_id, v_request.parent_step, v_now)
  returning task_no, task_id into v_task_no, v_task_id;
  insert into tasker_step (task_no, step_no, definition_id, pending, state, retry_limit, counted, bypass, gated, children)
  select v_task_no, p.step_no, p.definition_id, cardinality(p.parents), case when p.parents = '{}' then 1 else 0 end,
         p.retry_limit, p.children = '{}', false, p.gated and p.for_each is null, nullif(p.children, '{}')
    from tasker_template p where p.definition_id = v_request.definition_id
   order by p.step_no;
  insert into tasker_ready (rank, task_no, step_no, definition_id)
  select v_now - coalesce(v_request.priority, 0::smallint) * interval '1 minute', v_task_no, p.step_no, case when p.gated and p.for_each is null then -p.definition_id else p.definition_id end
    from tasker_template p where p.definition_id = v_request.definition_id and p.parents = '{}'
   order by p.step_no;
  return v_task_id;
end
$$;
