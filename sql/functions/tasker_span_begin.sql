-- tasker_span_begin: when the minute, hour or day (grain 0, 1, 2) begins in which a moment lies; -infinity for grain 3, which is ever.
create or replace function tasker_span_begin (p_grain int, p_at timestamptz)
  returns timestamptz
  language sql immutable parallel safe
as $$
  select case p_grain when 0 then date_trunc('minute', p_at, 'UTC') when 1 then date_trunc('hour', p_at, 'UTC')
                      when 2 then date_trunc('day', p_at, 'UTC') else '-infinity' end
$$;
