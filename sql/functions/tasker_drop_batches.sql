-- tasker_drop_batches: of the next few batches that ended long ago, those are gone whose tasks are all gone.
--   p_after  the number of the last batch that was looked at, 0 to begin with
--   moves, events  none     locks  the batches     returns the last one that was looked at; null when there are no more
create or replace function tasker_drop_batches (p_after bigint, p_limit int, p_kept interval)
  returns bigint
  language plpgsql
as $$
declare
  v_looked bigint[];
  v_old bigint[];
begin
  v_looked := array(select b.batch_id from tasker_batch b where b.batch_id > p_after order by b.batch_id limit p_limit);
  v_old := array(
    select b.batch_id from tasker_batch b
     where b.batch_id = any(v_looked) and b.finished_at < tasker_clock() - p_kept
       and not exists (select from tasker_batch_item i join tasker_task t using (task_id) where i.batch_id = b.batch_id)
       for update of b skip locked);
  delete from tasker_batch_item i where i.batch_id = any(v_old);
  delete from tasker_batch b where b.batch_id = any(v_old);
  return case when cardinality(v_looked) = p_limit then v_looked[p_limit] end;
end
$$;
