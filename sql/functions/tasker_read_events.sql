-- tasker_read_events: what happened, as events, in the order of their ids.
--   p_after, p_until  event ids: the events after the first, up to the second included; see tasker_event_horizon for how far it is safe to go
--   p_types, p_namespace  only these; null: all
--   A move to the state it came from is a note and no event; a task that is led out of failure and a step that becomes ready are none either.
--   A step that was handed back, and a map step whose items are done, starts again in the same attempt: only the first start is an event.
--   context and result are those of that time, also when the step has run again since and the task was given another context.
--   duration is in milliseconds: of the attempt, or of the task since its first step started. data is what a handler published.
-- Each look-up is a lateral one by key: a plan that joins would depend on what was analysed, and when.
create or replace function tasker_read_events (p_after bigint, p_until bigint, p_types text[] default null, p_namespace text default null)
  returns table (event_id bigint, type text, task_id uuid, step_name text, namespace text, task_name text, version text, context jsonb, result jsonb,
                 error jsonb, attempt int, duration bigint, "timestamp" text, correlation_id text, data jsonb)
  language plpgsql stable
  set enable_seqscan = off
as $$
#variable_conflict use_column
begin
  return query
  with moved as materialized (
    select h.event_id * 2 + half.no as event_id, h.task_no, h.step_no, h.at, h.from_state, h.to_state, h.attempt::int, h.reason, h.detail, null::jsonb as data,
           case when h.step_no is null
                then case h.to_state when 2 then case when h.from_state = 0 then 'task.started' end
                                     when 4 then 'task.completed' when 5 then 'task.failed' when 6 then 'task.cancelled' end
                when half.no = 1 then 'step.retried'
                else case h.to_state when 2 then 'step.started' when 3 then 'step.failed' when 4 then 'step.completed' when 5 then 'step.failed'
                                     when 6 then 'step.cancelled' when 7 then 'step.skipped' when 8 then 'step.resolved' end
            end as type
      from tasker_history h cross join lateral generate_series(0, (h.to_state = 3)::int) as half (no)
     where h.event_id between (p_after + 1) / 2 and p_until / 2 and h.from_state is distinct from h.to_state
    union all
    select c.event_no * 2, c.task_no, c.step_no, c.at, null, null, null, null, null, c.data, c.type
      from tasker_custom_event c where c.event_no between (p_after + 1) / 2 and p_until / 2
  ),
  event as materialized (
    select m.* from moved m
     where m.event_id > p_after and m.event_id <= p_until and m.type is not null and (p_types is null or m.type = any(p_types))
  ),
  released as materialized (
    select r.task_no, r.step_no, r.attempt, min(r.event_id) * 2 as event_id
      from (select distinct e.task_no from event e where e.type = 'step.started' and e.from_state = 1) started
     cross join lateral (select h.event_id, h.task_no, h.step_no, h.attempt from tasker_history h
                          where h.task_no = started.task_no and h.from_state = 2 and h.to_state = 1 offset 0) r
     group by 1, 2, 3
  ),
  earlier as materialized (
    -- when attempts began whose steps have been started again since
    select b.task_no, b.step_no, b.attempt, max(b.at) as at
      from (select distinct e.task_no from event e
             where e.from_state = 2 and e.step_no is not null
               and exists (select from tasker_step k where k.task_no = e.task_no and k.step_no = e.step_no and k.attempts <> e.attempt)) again
     cross join lateral (select h.task_no, h.step_no, h.attempt, h.at from tasker_history h
                          where h.task_no = again.task_no and h.step_no is not null and h.to_state = 2 offset 0) b
     group by 1, 2, 3
  ),
  reset as materialized (
    -- what steps had returned that were led back since: a completed one shows it by its state or its attempt, a resolved one does not
    select b.task_no, b.step_no, jsonb_agg(jsonb_build_object('event_id', b.event_id * 2, 'result', b.detail -> 'result') order by b.event_id) as runs
      from (select distinct e.task_no from event e
             where e.type in ('step.completed', 'step.resolved')
               and exists (select from tasker_step k where k.task_no = e.task_no and k.step_no = e.step_no
                                                       and (e.type = 'step.resolved' or k.state <> 4 or k.attempts is distinct from e.attempt))) again
     cross join lateral (select h.task_no, h.step_no, h.event_id, h.detail from tasker_history h
                          where h.task_no = again.task_no and h.step_no is not null and h.from_state in (4, 8) and h.to_state = 0 offset 0) b
     group by 1, 2
  ),
  given as materialized (
    -- the contexts of tasks that have got another one since
    select b.task_no, jsonb_agg(jsonb_build_object('event_id', b.event_id * 2, 'context', b.detail -> 'context_before') order by b.event_id) as contexts
      from (select e.task_no from event e cross join lateral (select k.context_since from tasker_task k where k.task_no = e.task_no offset 0) t
             where t.context_since * 2 > e.event_id group by 1) changed
     cross join lateral (select h.task_no, h.event_id, h.detail from tasker_history h
                          where h.task_no = changed.task_no and h.step_no is null and h.detail ? 'context_before' offset 0) b
     group by 1
  )
  select e.event_id, e.type, t.task_id, s.name, d.namespace, d.name, d.version,
         case when t.context_since * 2 > e.event_id
              then (select c.value -> 'context' from jsonb_array_elements(g.contexts) with ordinality as c (value, no)
                     where (c.value ->> 'event_id')::bigint > e.event_id order by c.no limit 1)
              else t.context end,
         case when e.type in ('step.completed', 'step.resolved') then coalesce(returned.run -> 'result', s.result) end,
         case when found.error ->> 'type' is not null
              then jsonb_build_object('type', found.error -> 'type', 'message', found.error -> 'message', 'code', found.error -> 'code')
              when e.type in ('step.failed', 'step.retried', 'task.failed')
              then jsonb_build_object('type', 'reported', 'message', coalesce(e.reason, 'reported as failed without an error'), 'code', null) end,
         e.attempt,
         case when begun.at is not null then greatest(round(extract(epoch from e.at - begun.at) * 1000), 0)::bigint end,
         to_char(e.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
         t.correlation_id, e.data
    from event e
   cross join lateral (select k.task_id, k.definition_id, k.context, k.context_since, k.correlation_id, k.started_at from tasker_task k where k.task_no = e.task_no offset 0) t
   cross join lateral (select k.namespace, k.name, k.version from tasker_definition k where k.definition_id = t.definition_id offset 0) d
    left join released r on r.task_no = e.task_no and r.step_no = e.step_no and r.attempt = e.attempt
    left join earlier b on b.task_no = e.task_no and b.step_no = e.step_no and b.attempt = e.attempt and e.from_state = 2
    left join reset x on x.task_no = e.task_no and x.step_no = e.step_no
    left join given g on g.task_no = e.task_no
    left join lateral (select c.value as run from jsonb_array_elements(x.runs) with ordinality as c (value, no)
                        where (c.value ->> 'event_id')::bigint > e.event_id order by c.no limit 1) returned on true
    left join lateral (select tasker_step_name(p.name, k.item_no) as name, k.result, k.attempts, k.started_at, p.for_each is not null and k.map_no is null as is_map
                         from tasker_step k join tasker_template p on p.definition_id = k.definition_id and p.step_no = coalesce(k.map_no, k.step_no)
                        where k.task_no = e.task_no and k.step_no = e.step_no offset 0) s on true
   cross join lateral (
     select case when e.step_no is null and e.to_state in (4, 5, 6) then t.started_at
                 when e.from_state = 2 and e.attempt = s.attempts then s.started_at
                 else b.at end as at) begun
   cross join lateral (
     select case when e.type = 'task.failed'
                 then (select (array_agg(h.detail order by h.event_id desc))[1] from tasker_history h
                        where h.task_no = e.task_no and h.step_no is not null and h.to_state = 5 and h.event_id * 2 < e.event_id)
                 else e.detail end as error) found
   where (p_namespace is null or d.namespace = p_namespace)
     and not (e.type = 'step.started' and coalesce(r.event_id < e.event_id, false))
     and not (case when e.type = 'step.started' and s.is_map
                   then exists (select from tasker_history h where h.task_no = e.task_no and h.step_no = e.step_no and h.to_state = 2 and h.attempt = e.attempt
                                                               and h.event_id * 2 < e.event_id)
                   else false end)
   order by e.event_id;
end
$$;
