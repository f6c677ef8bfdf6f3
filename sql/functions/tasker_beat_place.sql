-- tasker_beat_place: a process that takes deliveries lives, and with it what it has begun, as long as the engines do that sent it.
--   returns of its deliveries those that may go on, for how many seconds, and whether they were asked to stop; what is missing must end at once
create or replace function tasker_beat_place (p_place text, p_concurrency int, p_tokens uuid[], p_lease interval, p_version text default '')
  returns table (token uuid, seconds float8, cancel_requested boolean)
  language sql
as $$
  with seen as (
    insert into tasker_delivery_place as l (place, concurrency, version, seen_at) values (p_place, p_concurrency, p_version, tasker_clock())
    on conflict (place) do update set concurrency = excluded.concurrency, seen_at = excluded.seen_at
  ), left_behind as (
    delete from tasker_delivery_place l where l.seen_at < tasker_clock() - interval '1 hour'
  ), orphaned as (
    delete from tasker_delivery d
     where d.posted_at < tasker_clock() - interval '1 hour'
       and not exists (select from tasker_worker w where w.worker_id = d.worker_id and w.lease_until > tasker_clock())
  )
  update tasker_delivery d
     set lease_until = least(tasker_clock() + p_lease, w.lease_until)
    from tasker_worker w, tasker_step s
   where d.token = any(p_tokens) and d.place = p_place and d.kind is null and d.lease_until > tasker_clock()
     and w.worker_id = d.worker_id and w.lease_until > tasker_clock()
     and s.task_no = d.task_no and s.step_no = d.step_no and s.worker_id = d.worker_id and s.attempts = d.attempt
  returning d.token, extract(epoch from d.lease_until - tasker_clock())::float8, s.cancel_requested
$$;
