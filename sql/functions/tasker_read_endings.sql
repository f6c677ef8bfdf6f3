-- tasker_read_endings: which attempts and tasks have ended, with all that a trace tells of them, in the order of their ends.
--   p_after, p_until  event ids: those that ended after the first, up to the second included; see tasker_event_horizon for how far it is safe to go
--   p_share  of the tasks that came with no word on it, this share, always the same ones; a traceparent says whether its task is traced
--   step_name is null for a task; retry_at is when an attempt that failed is to be made again
-- Each look-up is a lateral one by key: a plan that joins would depend on what was analysed, and when.
create or replace function tasker_read_endings (p_after bigint, p_until bigint, p_share float8 default 1)
  returns table (event_id bigint, task_id text, traceparent text, namespace text, task_name text, version text, correlation_id text, step_name text, state text,
                 attempt int, worker_id int, began_at timestamptz, ended_at timestamptz, retry_at timestamptz, error_type text, error_message text)
  language plpgsql stable
  set enable_seqscan = off
as $$
#variable_conflict use_column
begin
  return query
  select h.event_id * 2, t.task_id::text, t.traceparent, d.namespace, d.name, d.version, t.correlation_id, s.name, tasker_state_name(h.to_state),
         h.attempt::int, h.worker_id, case when h.step_no is null then t.created_at else coalesce(began.at, h.at) end, h.at,
         (h.detail ->> 'run_at')::timestamptz, h.detail ->> 'type', h.detail ->> 'message'
    from tasker_history h
   cross join lateral (select k.task_id, k.traceparent, k.definition_id, k.correlation_id, k.created_at from tasker_task k where k.task_no = h.task_no offset 0) t
   cross join lateral (select k.namespace, k.name, k.version from tasker_definition k where k.definition_id = t.definition_id offset 0) d
    left join lateral (select tasker_step_name(p.name, k.item_no) as name, k.attempts, k.started_at
                         from tasker_step k join tasker_template p on p.definition_id = k.definition_id and p.step_no = coalesce(k.map_no, k.step_no)
                        where k.task_no = h.task_no and k.step_no = h.step_no offset 0) s on true
    left join lateral (
      -- the step has been started again since: then the history alone knows
      select coalesce(case when s.attempts = h.attempt and s.started_at <= h.at then s.started_at end,
                      (select max(b.at) from tasker_history b
                        where b.task_no = h.task_no and b.step_no = h.step_no and b.to_state = 2 and b.attempt = h.attempt and b.event_id < h.event_id)) as at
       where h.step_no is not null offset 0) began on true
   where h.event_id between p_after / 2 + 1 and p_until / 2
     and case when h.step_no is null then h.from_state <> h.to_state and h.to_state in (4, 5, 6, 8) else h.from_state = 2 and h.to_state in (3, 4, 5, 6) end
     and case when t.traceparent is null then ('x' || left(t.task_id::text, 8))::bit(32)::bigint < p_share * 4294967296 else right(t.traceparent, 1) in ('1', '3', '5', '7', '9', 'b', 'd', 'f') end
   order by h.event_id;
end
$$;
