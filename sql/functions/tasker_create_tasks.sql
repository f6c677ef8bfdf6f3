-- tasker_create_tasks: makes tasks with all their steps, in one statement per table whatever their number.
--   p_requests  [{"definition_id", "context", "initiator", "source_system", "reason", "tags", "priority", "bypass_steps": [step names],
--                 "correlation_id", "traceparent", "parent_task_id", "parent_step", "idempotency_key", "fingerprint", "run_at"}], contexts already valid
--   p_notify    wake idle engines. NOTIFY lets one transaction of the whole server commit at a time: who commits at once notifies afterwards instead
--   returns one row per request in its order; created is false when the idempotency key named an earlier task
--   moves  roots -> ready (pending until run_at)     locks  idempotency keys, then definitions used for the first time, in order     events  none before the first claim
--   planned once in a session: a plan for every call took longer than what it plans
--   raises WF005 when a key was used with another request, WF001 for a definition that is unknown, or was replaced since it was looked up
create or replace function tasker_create_tasks (p_requests jsonb, p_notify boolean default true)
  returns table (place int, task_id uuid, created boolean)
  language plpgsql
  set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  v_now timestamptz := tasker_clock();
  v_keyed record;
  v_earlier record;
  v_id uuid;
  v_earlier_ids jsonb := '{}';
  v_ids jsonb := '{}';
  v_is_keyed boolean;
  v_is_unknown boolean;
  v_is_new boolean;
begin
  perform pg_current_xact_id();   -- before the tasks take their numbers: see tasker_index_words
  select bool_or(request.value ->> 'idempotency_key' is not null), bool_or(d.definition_id is null), bool_or(not d.used)
    into v_is_keyed, v_is_unknown, v_is_new
    from jsonb_array_elements(p_requests) as request (value) left join tasker_definition d on d.definition_id = (request.value ->> 'definition_id')::int;
  if v_is_unknown then
    raise exception 'a request names a definition that is not known' using errcode = 'WF001';
  end if;

  if v_is_keyed then
    for v_keyed in
      select request.place, request.value ->> 'idempotency_key' as key, request.value ->> 'fingerprint' as fingerprint, d.namespace, d.name
        from jsonb_array_elements(p_requests) with ordinality as request (value, place)
        join tasker_definition d on d.definition_id = (request.value ->> 'definition_id')::int
       where request.value ->> 'idempotency_key' is not null
       order by d.namespace, d.name, request.value ->> 'idempotency_key', request.place
    loop
      v_id := gen_random_uuid();
      insert into tasker_request_key (namespace, name, key, task_id, fingerprint)
      values (v_keyed.namespace, v_keyed.name, v_keyed.key, v_id, v_keyed.fingerprint)
      on conflict (namespace, name, key) do nothing;
      if found then
        v_ids := v_ids || jsonb_build_object(v_keyed.place, v_id);
        continue;
      end if;
      select k.task_id, k.fingerprint into v_earlier from tasker_request_key k
       where k.namespace = v_keyed.namespace and k.name = v_keyed.name and k.key = v_keyed.key;
      if v_earlier.fingerprint is distinct from v_keyed.fingerprint then
        raise exception 'the idempotency key "%" was used for another request', v_keyed.key using errcode = 'WF005';
      end if;
      v_earlier_ids := v_earlier_ids || jsonb_build_object(v_keyed.place, v_earlier.task_id);
    end loop;
  end if;
  if v_is_new then
    for v_keyed in
      select distinct (request.value ->> 'definition_id')::int as definition_id from jsonb_array_elements(p_requests) as request (value) order by 1
    loop
      update tasker_definition d set used = true where d.definition_id = v_keyed.definition_id and not d.used;
      if not found and not exists (select from tasker_definition d where d.definition_id = v_keyed.definition_id) then
        raise exception 'a definition was replaced before a task was made of it' using errcode = 'WF001', hint = 'look it up again';
      end if;
    end loop;
  end if;

  return query
  with request as materialized (
    select element.place::int, nextval('tasker_task_no') as task_no, coalesce((v_ids ->> element.place::text)::uuid, gen_random_uuid()) as task_id,
           field.definition_id, coalesce(field.context, '{}') as context, field.initiator, field.source_system, field.reason,
           coalesce(field.tags, '{}') as tags, coalesce(field.priority, 0::smallint) as priority, field.bypass_steps, field.correlation_id, field.traceparent,
           field.parent_task_id, field.parent_step,
           case when field.run_at > v_now then field.run_at end as run_at
      from jsonb_array_elements(p_requests) with ordinality as element (value, place),
           jsonb_to_record(element.value) as field (definition_id int, context jsonb, initiator text, source_system text, reason text,
             tags text[], priority smallint, bypass_steps text[], correlation_id text, traceparent text, parent_task_id uuid, parent_step text, run_at timestamptz)
     where not v_earlier_ids ? element.place::text
  ),
  template as materialized (   -- by key, however many definitions there are
    select t.* from (select distinct r.definition_id from request r) w
     cross join lateral (select * from tasker_template t where t.definition_id = w.definition_id offset 0) t
  ),
  task as (
    insert into tasker_task (task_no, task_id, definition_id, remaining, priority, context, tags, initiator, source_system, reason,
                             correlation_id, traceparent, parent_task_id, parent_step, run_at, created_at)
    select r.task_no, r.task_id, r.definition_id,
           (select count(*) from tasker_template p where p.definition_id = r.definition_id and p.children = '{}'),
           r.priority, r.context, r.tags, r.initiator, r.source_system, r.reason, r.correlation_id, r.traceparent, r.parent_task_id, r.parent_step, r.run_at, v_now
      from request r order by r.task_no
  ),
  step as (
    insert into tasker_step (task_no, step_no, definition_id, pending, state, retry_limit, counted, bypass, gated, children)
    select r.task_no, p.step_no, r.definition_id, cardinality(p.parents),
           case when p.parents = '{}' and r.run_at is null and not (p.name = any(coalesce(r.bypass_steps, '{}'))) then 1 else 0 end,
           p.retry_limit, p.children = '{}', p.name = any(coalesce(r.bypass_steps, '{}')), p.gated and p.for_each is null, nullif(p.children, '{}')
      from request r join template p using (definition_id)
     order by r.task_no, p.step_no
    returning tasker_step.task_no, tasker_step.step_no, tasker_step.definition_id, tasker_step.state, tasker_step.pending, tasker_step.gated
  ),
  ready as (
    insert into tasker_ready (rank, task_no, step_no, definition_id)
    select v_now - r.priority * interval '1 minute', s.task_no, s.step_no, case when s.gated then -s.definition_id else s.definition_id end
      from step s join request r using (task_no) where s.state = 1
     order by r.place, s.step_no
  ),
  delayed as (
    insert into tasker_delayed (run_at, task_no, step_no)
    select coalesce(r.run_at, v_now), s.task_no, s.step_no
      from step s join request r using (task_no) where s.state = 0 and s.pending = 0
  )
  select r.place, r.task_id, true from request r
  union all
  select earlier.key::int, earlier.value::uuid, false from jsonb_each_text(v_earlier_ids) as earlier (key, value)
  order by 1;
  if p_notify then
    perform pg_notify('tasker_ready', '');
  end if;
end
$$;
