-- tasker_admit_steps: gated steps that may go on now stand in the queue. A claim calls this first when anything is parked.
--   p_lanes  what the caller's engine serves; steps for others are left to them     p_want  as many as it has room for
--   moves  none     locks  queue rows, then lines; what others hold is skipped but for the lines of new arrivals
create or replace function tasker_admit_steps (p_lanes int[], p_want int)
  returns void
  language plpgsql
as $$
declare
  c_arrivals constant int := 1000;
  c_lines constant int := 100;
  v_now timestamptz;
  v_lane int;
  v_arrived boolean;
  v_rank timestamptz;
  v_left int := 2 * p_want;   -- one step may pass two limits
  v_line record;
begin
  -- who passes the limit of its workflow may have to stand before its own, and then arrives once more
  for v_round in 1 .. 2 loop
    v_arrived := false;
    v_lane := -2147483647;
    loop
      select r.definition_id, r.rank into v_lane, v_rank from tasker_ready r
       where r.definition_id > v_lane and r.definition_id < 0 order by r.definition_id, r.rank, r.ready_no limit 1;
      exit when not found;
      if v_rank < 'infinity' and -v_lane = any(p_lanes) then
        perform tasker_line_up(-v_lane, c_arrivals);
        v_arrived := true;
      end if;
    end loop;
    exit when v_round = 2 and not v_arrived;
    v_now := tasker_clock();
    for v_line in
      select n.limit_id, n.key from tasker_line n
       where n.due_at <= v_now
         and n.limit_id = any(array(select l.limit_id from tasker_limit l
                                     where (l.namespace, l.name) in (select d.namespace, d.name from tasker_definition d where d.definition_id = any(p_lanes))))
       order by n.due_at limit c_lines for update skip locked
    loop
      exit when v_left <= 0;
      v_left := v_left - tasker_admit_line(v_line.limit_id, v_line.key, p_lanes, v_left);
    end loop;
  end loop;
end
$$;
