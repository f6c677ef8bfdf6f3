-- tasker_event_horizon: the newest event there may be, and which transactions may still hold back older ones.
--   p_decided  the caller knows already that nothing up to here is yet to appear; while nothing is newer, it costs no transaction number
--   returns event_id    no event with a higher id existed at that moment
--           low_xid     every transaction below has ended
--           high_xid    every move up to event_id is of a transaction below: once a later call's low_xid reaches it, no event up to event_id is yet to appear
--   Every move locks or changes a row before it takes its number, so the transaction of a number taken by then is older than the one begun here.
create or replace function tasker_event_horizon (p_decided bigint default -1)
  returns table (event_id bigint, low_xid bigint, high_xid bigint)
  language plpgsql volatile
as $$
#variable_conflict use_column
begin
  event_id := 2 * coalesce(pg_sequence_last_value(pg_get_serial_sequence('tasker_history', 'event_id')::regclass), 0) + 1;
  -- A snapshot cannot say it: it knows nothing of a transaction begun after the last one that ended. So this one takes the next number itself, and writes nothing.
  high_xid := case when event_id > p_decided then pg_current_xact_id()::text::bigint else 0 end;
  -- each statement of a volatile function has a snapshot of its own
  low_xid := pg_snapshot_xmin(pg_current_snapshot())::text::bigint;
  return next;
end
$$;
