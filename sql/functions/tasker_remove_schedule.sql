-- tasker_remove_schedule: it is gone; the tasks it has made stay.
--   raises WF001 unknown schedule
create or replace function tasker_remove_schedule (p_schedule_id int)
  returns void
  language plpgsql
as $$
begin
  delete from tasker_schedule s where s.schedule_id = p_schedule_id;
  if not found then
    raise exception 'there is no schedule %', p_schedule_id using errcode = 'WF001';
  end if;
end
$$;
