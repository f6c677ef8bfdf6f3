-- tasker_heads: who is first in each place where steps wait for one of these lanes: the lanes, arrivals that nobody has seen yet, and lines that are due.
--   An engine that is full asks now and then: where the same one is still first, it has left somebody standing.
create or replace function tasker_heads (p_lanes int[])
  returns table (place text, head text)
  language plpgsql
  stable
as $$
declare
  v_lane int := -2147483647;
  v_head record;
begin
  loop
    select r.definition_id, r.rank, r.ready_no into v_head from tasker_ready r
     where r.definition_id > v_lane order by r.definition_id, r.rank, r.ready_no limit 1;
    exit when not found;
    v_lane := v_head.definition_id;
    if v_head.rank < 'infinity' and abs(v_lane) = any(p_lanes) then
      place := 'lane ' || v_lane;
      head := v_head.ready_no;
      return next;
    end if;
  end loop;
  return query
  select 'line ' || n.limit_id || ' ' || n.key, n.due_at::text from tasker_line n
   where n.due_at <= tasker_clock()
     and exists (select from tasker_waiting w where w.limit_id = n.limit_id and w.key = n.key and w.lane = any(p_lanes))
   order by n.due_at limit 10;
end
$$;
