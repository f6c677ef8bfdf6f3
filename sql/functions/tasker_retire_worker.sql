-- tasker_retire_worker: an engine ends by itself; nothing is left under its name.
--   moves  what it still holds -> ready, uncharged     locks  as tasker_release_steps
create or replace function tasker_retire_worker (p_worker int)
  returns void
  language plpgsql
as $$
begin
  perform tasker_release_steps(p_worker, array_agg(h.task_no), array_agg(h.step_no), array_agg(h.attempt))
    from tasker_worker_steps(p_worker) h having count(*) > 0;
  delete from tasker_claim c where c.worker_id = p_worker;
  delete from tasker_worker w where w.worker_id = p_worker;
end
$$;
