-- tasker_lanes: the lanes of the queue that an engine with these definitions and labels serves beside the definitions' own.
create or replace function tasker_lanes (p_definitions int[], p_labels text[])
  returns setof int
  language sql
  stable
as $$
  select l.lane from tasker_lane l where l.definition_id = any(p_definitions) and l.labels <@ p_labels order by l.lane
$$;
