-- tasker_drop_notices: what was told, or given up, so long ago is gone, at most p_limit at a time; returns how many.
--   moves, events  none     locks  the notices
create or replace function tasker_drop_notices (p_kept interval, p_limit int)
  returns int
  language plpgsql
as $$
declare
  v_count int;
begin
  delete from tasker_notice n
   where n.notice_id in (select o.notice_id from tasker_notice o
                          where coalesce(o.delivered_at, o.given_up_at) < tasker_clock() - p_kept order by o.notice_id limit p_limit for update skip locked);
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
