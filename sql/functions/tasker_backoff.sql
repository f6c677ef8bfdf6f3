-- tasker_backoff: how long a step waits before its next attempt.
--   p_attempt  the attempt that has just failed, from 1     p_delay  seconds the handler asked for; wins over the computed wait
--   returns base * multiplier ^ (attempt - 1), at most cap, give or take the jitter's share
create or replace function tasker_backoff (p_definition_id int, p_step_no int, p_attempt int, p_delay float8)
  returns interval
  language plpgsql volatile
as $$
declare
  v_wait float8;
begin
  if p_delay is not null then
    return least(greatest(p_delay, 0), 315360000) * interval '1 second';
  end if;
  select least(p.backoff_cap, p.backoff_base * p.backoff_multiplier ^ least(p_attempt - 1, 60)) * (1 + p.backoff_jitter * (2 * random() - 1))
    into v_wait
    from tasker_template p where p.definition_id = p_definition_id and p.step_no = p_step_no;
  return least(coalesce(v_wait, 0), 315360000) * interval '1 second';
end
$$;
