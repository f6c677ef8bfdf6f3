-- tasker_roll_up: the next moves of the history are counted in the roll-ups, up to p_limit of them.
--   moves  none     locks  the one row of tasker_rollup_place, for which nobody waits: whoever finds it held leaves the work to its holder
--   A move is counted by its number, once nothing below can still appear, and together with how far they are counted: in one transaction, so exactly once.
--   Call it in a transaction of its own: see tasker_event_horizon.     events none
--   returns counted_to  every move up to this number is counted     is_behind  more can be counted at once
create or replace function tasker_roll_up (p_limit int default 10000)
  returns table (counted_to bigint, is_behind boolean)
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: these few moves are a small part of the tables
as $$
#variable_conflict use_column
declare
  v_place tasker_rollup_place;
  v_horizon record;
  v_until bigint;
  v_seen int;
begin
  select p.* into v_place from tasker_rollup_place p;
  if not found then
    -- which takes a transaction number, so that this call cannot look any further
    insert into tasker_rollup_place default values on conflict do nothing;
    return query select 0::bigint, true;
    return;
  end if;
  counted_to := v_place.counted_to;
  is_behind := false;
  if v_place.counted_to >= coalesce(pg_sequence_last_value(pg_get_serial_sequence('tasker_history', 'event_id')::regclass), 0) then
    return next;
    return;
  end if;
  -- before the row is locked, which would take a transaction number too early
  select h.event_id / 2 as known_to, h.low_xid, h.high_xid into v_horizon from tasker_event_horizon() h;
  select p.* into v_place from tasker_rollup_place p for update skip locked;
  -- a look that is older than the row, because another call was made in between, would lead the place back
  if not found or v_horizon.low_xid < v_place.known_xid or v_horizon.known_to < v_place.known_to then
    return next;
    return;
  end if;

  select max(h.event_id), count(*) into v_until, v_seen
    from (select k.event_id from tasker_history k where k.event_id > v_place.counted_to and k.event_id <= v_place.known_to order by k.event_id limit p_limit) h;
  is_behind := v_seen = p_limit;
  counted_to := case when is_behind then v_until else v_place.known_to end;
  if v_seen > 0 then
    perform tasker_count_moves(v_place.counted_to, counted_to);
    perform tasker_count_failures(v_place.counted_to, counted_to);
  end if;
  update tasker_rollup_place p
     set counted_to = tasker_roll_up.counted_to,
         known_to = case when is_behind then p.known_to else v_horizon.known_to end,
         known_xid = case when is_behind then p.known_xid else v_horizon.high_xid end;
  return next;
end
$$;
