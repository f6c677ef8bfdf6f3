-- tasker_look_again: every line before this limit is looked at by the next claims.
--   locks  the lines, in order
create or replace function tasker_look_again (p_limit_id int)
  returns void
  language plpgsql
as $$
begin
  perform from tasker_line n where n.limit_id = p_limit_id order by n.key for update;
  update tasker_line n set due_at = tasker_clock() where n.limit_id = p_limit_id;
  perform pg_notify('tasker_ready', '');
end
$$;
