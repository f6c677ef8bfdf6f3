-- tasker_remove_view: it is gone, and what was still to be told of it.
--   moves, events  none     locks  the view     raises  WF001 unknown view
create or replace function tasker_remove_view (p_view_id bigint)
  returns void
  language plpgsql
as $$
begin
  delete from tasker_view v where v.view_id = p_view_id;
  if not found then
    raise exception 'there is no view %', p_view_id using errcode = 'WF001';
  end if;
  delete from tasker_notice n where n.view_id = p_view_id;
end
$$;
