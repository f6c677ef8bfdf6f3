-- tasker_pick_in_turn: which steps are next when several lanes of the queue have some: the namespaces take turns, and within one the best rank is first.
--   So a namespace with a million steps takes no more of a claim than another needs; what one leaves is for the others. Who begins is drawn,
--   as a claim of one step would else always go to the same.
--   returns the places of at most p_want rows of tasker_ready, locked     locks  those rows (rows that another claim takes are skipped)
--   p_heads  where each lane begins     p_served  the lanes that the caller's engine serves
create or replace function tasker_pick_in_turn (p_heads tasker_head[], p_served int[], p_want int)
  returns tid[]
  language plpgsql
as $$
declare
  v_heads tasker_head[] := array(select h from unnest(p_heads) h where h.lane = any(p_served));
  v_lane record;
  v_more int := 0;
  v_part tid[];
  v_picked tid[] := '{}';
begin
  if cardinality(v_heads) < 2 then
    return array(select q.ctid from tasker_ready q where q.definition_id = v_heads[1].lane and (q.rank, q.ready_no) >= (v_heads[1].rank, v_heads[1].ready_no)
                  order by q.rank, q.ready_no limit p_want for update skip locked);
  end if;
  for v_lane in
    with lane as materialized (
      select l.lane, l.rank, l.ready_no, d.namespace from unnest(v_heads) as l cross join lateral
        (select k.namespace from tasker_definition k
         where k.definition_id = coalesce((select n.definition_id from tasker_lane n where n.lane = l.lane), l.lane) offset 0) d
    ),
    luck as materialized (
      select n.namespace, random() as drawn from (select distinct lane.namespace from lane) n
    ),
    head as (
      select lane.lane, lane.rank, lane.ready_no, luck.drawn, row_number() over (partition by lane.namespace order by h.rank, h.ready_no) as turn
        from lane join luck using (namespace)
       cross join lateral (select q.rank, q.ready_no from tasker_ready q where q.definition_id = lane.lane
                           and (q.rank, q.ready_no) >= (lane.rank, lane.ready_no) order by q.rank, q.ready_no limit p_want) h
    ),
    counted as (
      select head.lane, count(*) as available from head group by 1
    ),
    due as (
      select n.lane, n.rank, n.ready_no, count(*)::int as share
        from (select head.lane, head.rank, head.ready_no from head order by head.turn, head.drawn limit p_want) n group by 1, 2, 3
    )
    select due.lane, due.rank, due.ready_no, due.share from due join counted using (lane) order by counted.available, due.lane
  loop
    -- what another claim is just taking from a short lane is made up for from a longer one
    v_part := array(select q.ctid from tasker_ready q where q.definition_id = v_lane.lane and (q.rank, q.ready_no) >= (v_lane.rank, v_lane.ready_no)
                     order by q.rank, q.ready_no limit v_lane.share + v_more for update skip locked);
    v_more := v_lane.share + v_more - cardinality(v_part);
    v_picked := v_picked || v_part;
  end loop;
  return v_picked;
end
$$;
