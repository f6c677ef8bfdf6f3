-- tasker_front: the first p_most steps of the whole queue, the best rank first, whichever lane they stand in; parked ones are not among them.
--   p_namespaces  only those of these namespaces; null: of all
--   returns definition_id  of the steps     lane  where they stand, which is what an engine has to serve: another one than the definition's for steps that need labels
--   It reads p_most rows of each lane, never all of the queue.
create or replace function tasker_front (p_most int, p_namespaces text[] default null)
  returns table (task_no bigint, step_no int, definition_id int, rank timestamptz, ready_no bigint, lane int)
  language sql
  stable
as $$
  with recursive lane (lane) as (
    select (select r.definition_id from tasker_ready r where r.definition_id > 0 order by r.definition_id, r.rank, r.ready_no limit 1)
    union all
    select (select r.definition_id from tasker_ready r where r.definition_id > lane.lane order by r.definition_id, r.rank, r.ready_no limit 1)
      from lane where lane.lane is not null
  )
  select h.task_no, h.step_no, d.definition_id, h.rank, h.ready_no, lane.lane
    from lane
   cross join lateral (select k.definition_id, k.namespace from tasker_definition k
                       where k.definition_id = coalesce((select l.definition_id from tasker_lane l where l.lane = lane.lane), lane.lane) offset 0) d
   cross join lateral (select q.task_no, q.step_no, q.rank, q.ready_no from tasker_ready q where q.definition_id = lane.lane order by q.rank, q.ready_no limit p_most) h
   where p_namespaces is null or d.namespace = any(p_namespaces)
   order by h.rank, h.ready_no
   limit p_most
$$;
