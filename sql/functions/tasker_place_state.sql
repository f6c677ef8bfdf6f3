-- tasker_place_state: of each place in one line that was not seen to end, whether it is still held and since when its holder runs.
create or replace function tasker_place_state (p_limit tasker_limit, p_key text)
  returns table (task_no bigint, step_no int, attempt smallint, holds boolean, started_at timestamptz)
  language sql
  stable
as $$
  select h.task_no, h.step_no, h.attempt,
         case when p_limit.step_name = '' then t.task_no is not null and t.finished_at is null
              else coalesce(s.state = 2 and s.attempts = h.attempt or s.state = 1 and s.attempts = h.attempt - 1 and not s.paused, false) end,
         case when p_limit.step_name = '' then t.started_at when s.attempts = h.attempt then s.started_at end
    from tasker_place h
    left join lateral (select k.task_no, k.finished_at, k.started_at from tasker_task k where k.task_no = h.task_no and p_limit.step_name = '' offset 0) t on true
    left join lateral (select k.state, k.attempts, k.started_at, k.paused from tasker_step k
                        where k.task_no = h.task_no and k.step_no = h.step_no and p_limit.step_name <> '' offset 0) s on true
   where h.limit_id = p_limit.limit_id and h.key = p_key and not h.ended
$$;
