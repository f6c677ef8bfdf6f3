-- tasker_take_views: watched views that were not counted for so long, the longest waiting first; whoever gets one counts it, and nobody else does meanwhile.
--   moves, events  none     locks  the views
create or replace function tasker_take_views (p_limit int, p_every interval)
  returns table (view_id bigint, owner_id int, namespace text, parameters jsonb, grants jsonb, kind text)
  language plpgsql
as $$
begin
  return query
  with due as (
    select v.view_id from tasker_view v
     where v.threshold is not null and coalesce(v.counted_at, '-infinity') <= tasker_clock() - p_every
     order by v.counted_at nulls first limit p_limit for update skip locked
  )
  update tasker_view v set counted_at = tasker_clock() from due where v.view_id = due.view_id
  returning v.view_id, v.owner_id, v.namespace, v.parameters, tasker_owner_grants(v.owner_id), v.kind;
end
$$;
