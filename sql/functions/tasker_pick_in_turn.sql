-- tasker_pick_in_turn: which steps are next when several lanes of the queue have some: the namespaces take turns, and within one the best rank is first.
--   So a namespace with a million steps takes no more of a claim than another needs; what one leaves is for the others. Who begins is drawn,
--   as a claim of one step would else always go to the same.
--   returns the places of at most p_want rows of tasker_ready, locked     locks  those rows (rows that another claim takes are skipped)
create or replace function tasker_pick_in_turn (p_lanes int[], p_want int)
  returns tid[]
  language plpgsql
as $$
declare
  v_lane record;
  v_more int := 0;
  v_part tid[];
  v_picked tid[] := '{}';
begin
  for v_lane in
    with lane as materialized (
      select l.lane, d.namespace from unnest(p_lanes) as l (lane) cross join lateral
        (select k.namespace from tasker_definition k
         where k.definition_id = coalesce((select n.definition_id from tasker_lane n where n.lane = l.lane), l.lane) offset 0) d
    ),
    luck as materialized (
      select n.namespace, random() as drawn from (select distinct lane.namespace from lane) n
    ),
    head as (
      select lane.lane, luck.drawn, row_number() over (partition by lane.namespace order by h.rank, h.ready_no) as turn
        from lane join luck using (namespace)
       cross join lateral (select q.rank, q.ready_no from tasker_ready q where q.definition_id = lane.lane order by q.rank, q.ready_no limit p_want) h
    ),
    counted as (
      select head.lane, count(*) as available from head group by 1
    ),
    due as (
      select n.lane, count(*)::int as share from (select head.lane from head order by head.turn, head.drawn limit p_want) n group by 1
    )
    select due.lane, due.share from due join counted using (lane) order by counted.available, due.lane
  loop
    -- what another claim is just taking from a short lane is made up for from a longer one
    v_part := array(select q.ctid from tasker_ready q where q.definition_id = v_lane.lane
                     order by q.rank, q.ready_no limit v_lane.share + v_more for update skip locked);
    v_more := v_lane.share + v_more - cardinality(v_part);
    v_picked := v_picked || v_part;
  end loop;
  return v_picked;
end
$$;
