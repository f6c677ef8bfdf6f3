-- tasker_free_places: something of these tasks has ended: the lines in which they have places are looked at by the next claim.
--   returns how many lines that are     locks  the lines, in order
create or replace function tasker_free_places (p_task_nos bigint[])
  returns int
  language plpgsql
as $$
declare
  v_now timestamptz := tasker_clock();
  v_lines int;
begin
  with line as materialized (
    select n.limit_id, n.key from tasker_line n
     where (n.limit_id, n.key) in (select h.limit_id, h.key from tasker_place h where h.task_no = any(p_task_nos)) and n.due_at > v_now
     order by n.limit_id, n.key for update
  )
  update tasker_line n set due_at = v_now from line where n.limit_id = line.limit_id and n.key = line.key;
  get diagnostics v_lines = row_count;
  return v_lines;
end
$$;
