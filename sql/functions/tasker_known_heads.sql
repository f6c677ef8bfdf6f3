-- tasker_known_heads: where each lane of the queue began when this session last looked, if that look was a long one and is not long ago; else null.
create or replace function tasker_known_heads ()
  returns tasker_head[]
  language plpgsql stable
as $$
begin
  if coalesce(current_setting('tasker.heads', true), '') = '' or clock_timestamp() > current_setting('tasker.heads_until')::timestamptz then
    return null;
  end if;
  return current_setting('tasker.heads')::tasker_head[];
end
$$;
