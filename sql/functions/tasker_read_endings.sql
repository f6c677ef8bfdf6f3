-- tasker_read_endings: which attempts and tasks have ended, in the order of their ends, with what a trace tells of each by itself.
--   p_after, p_until  event ids: those that ended after the first, up to the second included; see tasker_event_horizon for how far it is safe to go
--   p_share  of the tasks that came with no word on it, this share, always the same ones; those with a traceparent are all there
--   step_no and began_at are null for a task; template_no and item_no say which step it is; retry_at is when an attempt that failed is to be made again
-- What all spans of a task or a workflow share is not here: the reader keeps that, and to look it up for each costs more than all the rest.
-- The look-up is a lateral one by key: a plan that joins would depend on what was analysed, and when.
create or replace function tasker_read_endings (p_after bigint, p_until bigint, p_share float8 default 1)
  returns table (task_no bigint, step_no int, template_no int, item_no int, state smallint, attempt int, worker_id int, began_at timestamptz, ended_at timestamptz,
                 retry_at timestamptz, error_type text, error_message text)
  language plpgsql stable
  set enable_seqscan = off
as $$
#variable_conflict use_column
begin
  return query
  select h.task_no, h.step_no, coalesce(s.map_no, h.step_no), s.item_no, h.to_state, h.attempt::int, h.worker_id,
         case when h.step_no is not null then
           -- where the step has been started again since, the history alone knows
           coalesce(case when s.attempts = h.attempt and s.started_at <= h.at then s.started_at end,
                    (select max(b.at) from tasker_history b
                      where b.task_no = h.task_no and b.step_no = h.step_no and b.to_state = 2 and b.attempt = h.attempt and b.event_id < h.event_id),
                    h.at) end,
         h.at, (h.detail ->> 'run_at')::timestamptz, h.detail ->> 'type', h.detail ->> 'message'
    from tasker_history h
    left join lateral (select k.map_no, k.item_no, k.attempts, k.started_at from tasker_step k where k.task_no = h.task_no and k.step_no = h.step_no offset 0) s on true
   where h.event_id between p_after / 2 + 1 and p_until / 2
     and case when h.step_no is null then h.from_state <> h.to_state and h.to_state in (4, 5, 6, 8) else h.from_state = 2 and h.to_state in (3, 4, 5, 6) end
     and case when p_share < 1 then (select k.traceparent is not null or ('x' || left(k.task_id::text, 8))::bit(32)::bigint < p_share * 4294967296
                                       from tasker_task k where k.task_no = h.task_no) else true end
   order by h.event_id;
end
$$;
