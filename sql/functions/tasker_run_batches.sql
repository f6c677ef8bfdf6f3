-- tasker_run_batches: the next items of one batch are done, or refused each with its reason. Returns how many.
--   The batches take turns: it is the one that has waited longest since an engine was at it, and that nobody is at now.
--   p_limit, p_for  at most so many items, and none is begun after that time: their locks are held together, and the whole is one statement
--   An item never keeps the batch from going on. What fails for a reason of its own is refused with it. What runs into the time limit of the
--   statement, or has to be tried again, is left for the next call where something was done before it. Begun first it had all the time there is,
--   and is refused for the limit; a conflict, and a server without room, is raised.
--   moves, events  those of the action on each item     locks  the batch, then those of the action
--   raises  40001, 40P01 and class 53 from the first item: the caller tries again
create or replace function tasker_run_batches (p_limit int, p_for interval default '1 second')
  returns int
  language plpgsql
as $$
declare
  v_until timestamptz := clock_timestamp() + p_for;
  v_batch tasker_batch;
  v_item record;
  v_message text;
  v_done int := 0;
  v_refused int := 0;
begin
  select b.* into v_batch from tasker_batch b where b.finished_at is null order by b.worked_at nulls first, b.batch_id limit 1 for update skip locked;
  if not found then
    return 0;
  end if;
  for v_item in
    select i.item_no, i.task_id, i.step_name from tasker_batch_item i
     where i.batch_id = v_batch.batch_id and i.item_no > v_batch.done_count + v_batch.refused_count order by i.item_no limit p_limit
  loop
    v_message := null;
    begin
      perform tasker_act(v_item.task_id, v_batch.action, v_item.step_name, v_batch.given, v_batch.actor, v_batch.reason);
    exception
      -- the last two stand for their whole classes. The limit strikes once in a statement, so nothing may begin after it
      when query_canceled or transaction_rollback or insufficient_resources then
        exit when v_done + v_refused > 0;
        if sqlstate <> '57014' then
          raise;
        end if;
        v_message := 'it could not be done in time: ' || sqlerrm;
        v_until := '-infinity';
      when others then
        v_message := sqlerrm;
    end;
    if v_message is null then
      v_done := v_done + 1;
    else
      v_refused := v_refused + 1;
    end if;
    update tasker_batch_item i set outcome = case when v_message is null then 'done' else 'refused' end, message = v_message
     where i.batch_id = v_batch.batch_id and i.item_no = v_item.item_no;
    exit when clock_timestamp() >= v_until;
  end loop;
  update tasker_batch b
     set done_count = b.done_count + v_done, refused_count = b.refused_count + v_refused, worked_at = clock_timestamp(),
         finished_at = case when not exists (select from tasker_batch_item i where i.batch_id = b.batch_id
                                                and i.item_no > b.done_count + b.refused_count + v_done + v_refused) then tasker_clock() end
   where b.batch_id = v_batch.batch_id;
  perform pg_notify('tasker_news', '');
  return v_done + v_refused;
end
$$;
