-- tasker_clock: the one clock of the product. Tests move it for a session: set tasker.clock_offset = '1 hour'.
--   returns the time now, even inside a long transaction
create or replace function tasker_clock ()
  returns timestamptz
  language sql volatile parallel safe
as $$
  select clock_timestamp() + coalesce(nullif(current_setting('tasker.clock_offset', true), ''), '0')::interval
$$;
