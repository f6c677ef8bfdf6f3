-- tasker_stop_batch: what of a batch is not done yet will not be.
--   moves, events  none     locks  the batch     raises  WF001 unknown batch, WF002 when it has ended
create or replace function tasker_stop_batch (p_batch_id bigint, p_actor text)
  returns void
  language plpgsql
as $$
begin
  update tasker_batch b set finished_at = tasker_clock(), stopped_by = p_actor where b.batch_id = p_batch_id and b.finished_at is null;
  if found then
    return;
  end if;
  if exists (select from tasker_batch b where b.batch_id = p_batch_id) then
    raise exception 'the batch has ended' using errcode = 'WF002';
  end if;
  raise exception 'there is no batch %', p_batch_id using errcode = 'WF001';
end
$$;
