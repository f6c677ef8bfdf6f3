-- tasker_reap_workers: takes the steps of dead engines back. Every engine calls it again and again; it acts on what it finds, so no death is missed.
--   An engine whose advisory lock is free has no connection left: its lease is cut to p_grace, and a live one renews it when it reconnects.
--   Only the lease proves a death. Within a new life of the server a free lock says nothing.
--   moves  running -> retrying (at once) or -> failed when its attempts are used up: the running attempt is charged, as worker_crashed
--   locks  worker rows, then what tasker_fail_steps locks     events step.failed, step.retried
--   returns how many steps were taken back: those of one dead engine at most, the next call takes the next one's
create or replace function tasker_reap_workers (p_worker int, p_grace interval default '1 second')
  returns int
  language plpgsql
as $$
declare
  v_worker tasker_worker;
  v_taken int := 0;
begin
  for v_worker in
    select w.* from tasker_worker w
     where w.worker_id <> p_worker
       and (w.lease_until > tasker_clock() + p_grace
            or w.lease_until <= tasker_clock() and exists (select from tasker_claim c where c.worker_id = w.worker_id))
     order by w.worker_id
  loop
    if v_worker.lease_until <= tasker_clock() then
      v_taken := v_taken + tasker_rescue_steps(v_worker.worker_id);
      exit when v_taken > 0;   -- one engine's tasks are locked at a time, in their order
    elsif v_worker.server_started_at = pg_postmaster_start_time() and pg_try_advisory_lock(77, v_worker.worker_id) then
      perform pg_advisory_unlock(77, v_worker.worker_id);
      update tasker_worker w set lease_until = tasker_clock() + p_grace
       where w.worker_id = v_worker.worker_id and w.seen_at = v_worker.seen_at;
    end if;
  end loop;
  if v_taken = 0 then
    -- a call that was under way when its engine signed off has claimed for nobody
    v_taken := coalesce((select sum(tasker_rescue_steps(o.worker_id)) from (
      select distinct c.worker_id from tasker_claim c where not exists (select from tasker_worker w where w.worker_id = c.worker_id) limit 1) o), 0);
  end if;
  delete from tasker_worker w
   where w.lease_until < tasker_clock() - interval '1 hour' and not exists (select from tasker_claim c where c.worker_id = w.worker_id);
  return v_taken;
end
$$;
