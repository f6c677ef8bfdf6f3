-- tasker_run_batches: the next items of the oldest batch that nobody is at are done, or refused each with its reason. Returns how many.
--   moves, events  those of the action on each item     locks  the batch, then those of the action
create or replace function tasker_run_batches (p_limit int)
  returns int
  language plpgsql
as $$
declare
  v_batch tasker_batch;
  v_item record;
  v_message text;
  v_done int := 0;
  v_refused int := 0;
begin
  select b.* into v_batch from tasker_batch b where b.finished_at is null order by b.batch_id limit 1 for update skip locked;
  if not found then
    return 0;
  end if;
  for v_item in
    select i.item_no, i.task_id, i.step_name from tasker_batch_item i
     where i.batch_id = v_batch.batch_id and i.item_no > v_batch.done_count + v_batch.refused_count order by i.item_no limit p_limit
  loop
    begin
      perform tasker_act(v_item.task_id, v_batch.action, v_item.step_name, v_batch.given, v_batch.actor, v_batch.reason);
      v_message := null;
      v_done := v_done + 1;
    exception when sqlstate 'WF001' or sqlstate 'WF002' or sqlstate '22023' then
      v_message := sqlerrm;
      v_refused := v_refused + 1;
    end;
    update tasker_batch_item i set outcome = case when v_message is null then 'done' else 'refused' end, message = v_message
     where i.batch_id = v_batch.batch_id and i.item_no = v_item.item_no;
  end loop;
  update tasker_batch b
     set done_count = b.done_count + v_done, refused_count = b.refused_count + v_refused,
         finished_at = case when b.done_count + b.refused_count + v_done + v_refused = b.item_count then tasker_clock() end
   where b.batch_id = v_batch.batch_id;
  perform pg_notify('tasker_news', '');
  return v_done + v_refused;
end
$$;
