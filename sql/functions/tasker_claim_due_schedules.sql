-- tasker_claim_due_schedules: the caller, and for p_lease nobody else, makes the tasks of these schedules and then advances them.
-- needs: tasker_clock
--   returns up to p_limit schedules that are due, the longest overdue first, and the clock by which they are
--   locks   their rows; those that another engine is claiming now are left to it, not waited for
-- A lease that runs out before its schedule is advanced harms nobody: the next engine asks for tasks under the same idempotency keys.
create or replace function tasker_claim_due_schedules (p_limit int, p_lease interval)
  returns table (schedule_id int, namespace text, name text, version text, kind text, expression text, time_zone text, context jsonb,
                 policy text, due_at timestamptz, clock timestamptz)
  language sql
as $$
  with now as materialized (select tasker_clock() as clock),
  due as materialized (
    select s.schedule_id
      from tasker_schedule s, now
     where not s.paused and s.next_run_at <= now.clock and (s.claimed_until is null or s.claimed_until <= now.clock)
     order by s.next_run_at, s.schedule_id
     limit p_limit
       for update of s skip locked
  ),
  claimed as (
    update tasker_schedule s
       set claimed_until = now.clock + p_lease
      from due, now
     where s.schedule_id = due.schedule_id
    returning s.*, now.clock
  )
  select c.schedule_id, c.namespace, c.name, c.version, c.kind, c.expression, c.time_zone, c.context, c.policy, c.next_run_at, c.clock
    from claimed c
   order by c.next_run_at, c.schedule_id
$$;
