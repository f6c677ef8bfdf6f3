-- tasker_limit_reason: what whoever stands in one line before a limit waits for, in words.
create or replace function tasker_limit_reason (p_limit tasker_limit, p_key text)
  returns text
  language sql
  stable
as $$
  with place as materialized (
    select h.task_no, h.ended, coalesce(h.started_at, s.started_at) as started_at, row_number() over (partition by h.ended order by h.task_no) as number
      from tasker_place h
      left join lateral (select k.started_at from tasker_step k where k.task_no = h.task_no and k.step_no = h.step_no and k.attempts = h.attempt offset 0) s on true
     where h.limit_id = p_limit.limit_id and h.key = p_key
  ),
  counted as (
    select count(*) filter (where not p.ended) as taken, min(p.started_at) filter (where p.started_at > tasker_clock() - p_limit.period) as first_at,
           (select string_agg('task ' || left(t.task_id::text, 8), ', ' order by o.number)
              from place o join tasker_task t using (task_no) where not o.ended and o.number <= 3) as holders
      from place p
  )
  select case
      when p_limit.at_once = 0 or p_limit.per_period = 0 then 'an operator: nothing may begin now, the limit is 0'
      when c.taken >= p_limit.at_once then 'a free place: ' || c.taken || ' of ' || p_limit.at_once || ' taken by ' || coalesce(c.holders, 'nobody any more')
        || case when c.taken > 3 then ' and ' || c.taken - 3 || ' more' else '' end
      when p_limit.per_period is not null then 'its turn: ' || p_limit.per_period || ' per '
        || case extract(epoch from p_limit.period)::int when 1 then 'second' when 60 then 'minute' when 3600 then 'hour' when 86400 then 'day' else p_limit.period::text end
        || coalesce('; next at ' || to_char((c.first_at + p_limit.period) at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC', '')
      else 'an engine to let it in: a place is free'
    end || case when p_key = '' then '' else format(', for %s %s', array_to_string(p_limit.key_path, '.'), case when p_limit.key_is_secret then '***' else left(p_key, 40) end) end
    from counted c
$$;
