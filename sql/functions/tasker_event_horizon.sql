-- tasker_event_horizon: the newest event there may be, and which transactions may still hold back older ones.
--   returns event_id    no event with a higher id existed at that moment
--           low_xid     every transaction below has ended
--           high_xid    no transaction from here on had begun: once a later call's low_xid reaches it, no event up to event_id is yet to appear
--   Every move locks or changes a row before it takes its number, so a number taken by then belongs to a transaction the snapshot knows.
create or replace function tasker_event_horizon ()
  returns table (event_id bigint, low_xid bigint, high_xid bigint)
  language plpgsql volatile
as $$
#variable_conflict use_column
declare
  v_snapshot pg_snapshot;
begin
  -- the number first: each statement of a volatile function has a snapshot of its own
  event_id := 2 * coalesce(pg_sequence_last_value(pg_get_serial_sequence('tasker_history', 'event_id')::regclass), 0) + 1;
  v_snapshot := pg_current_snapshot();
  low_xid := pg_snapshot_xmin(v_snapshot)::text::bigint;
  high_xid := pg_snapshot_xmax(v_snapshot)::text::bigint;
  return next;
end
$$;
