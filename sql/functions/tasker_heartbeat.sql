-- tasker_heartbeat: the worker lives; its lease runs p_lease from now.
--   returns true; false when the lease was over already: then its steps may run elsewhere and it must stop working under this id
create or replace function tasker_heartbeat (p_worker int, p_lease interval, p_definitions int[], p_draining boolean, p_figures jsonb default null)
  returns boolean
  language sql
as $$
  with renewed as (
    update tasker_worker w
       set seen_at = tasker_clock(), lease_until = tasker_clock() + p_lease, definitions = p_definitions, draining = p_draining,
           figures = coalesce(p_figures, w.figures),
           server_started_at = case when w.server_started_at is not null then pg_postmaster_start_time() end
     where w.worker_id = p_worker and w.lease_until > tasker_clock()
    returning w.worker_id
  )
  select exists (select from renewed)
$$;
