-- tasker_register_worker: an engine process begins; its id is new at every start, so nothing of an earlier life can be mistaken for its own.
--   p_session_lock  true when the caller's connections are real sessions that can hold advisory lock (77, worker_id) for as long as they live
--   returns the worker's id; its lease runs p_lease from now by the database's clock
create or replace function tasker_register_worker
  (p_name text, p_runner text, p_concurrency int, p_definitions int[], p_lease interval, p_session_lock boolean, p_labels text[] default '{}')
  returns int
  language sql
as $$
  insert into tasker_worker (name, runner, concurrency, definitions, started_at, seen_at, lease_until, server_started_at, labels)
  values (p_name, p_runner, p_concurrency, p_definitions, tasker_clock(), tasker_clock(), tasker_clock() + p_lease,
          case when p_session_lock then pg_postmaster_start_time() end, p_labels)
  returning worker_id
$$;
