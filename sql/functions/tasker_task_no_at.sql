-- tasker_task_no_at: the number of the first task made at this time or later. Numbers are given in the order of time, but for transactions that
--   are under way together; so a list can begin at a time without an index on it, a little below this number, and look closely from there.
--   returns null when every task was made before
create or replace function tasker_task_no_at (p_at timestamptz)
  returns bigint
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: it looks at a few rows by their number
as $$
declare
  v_low bigint := (select t.task_no from tasker_task t order by t.task_no limit 1);
  v_high bigint := (select t.task_no from tasker_task t order by t.task_no desc limit 1);
  v_middle bigint;
  v_first bigint;
  v_found record;
begin
  while v_low <= v_high loop
    v_middle := v_low + (v_high - v_low) / 2;
    select t.task_no, t.created_at into v_found from tasker_task t where t.task_no >= v_middle order by t.task_no limit 1;
    if v_found.created_at >= p_at then
      v_first := v_found.task_no;
      v_high := v_middle - 1;
    else
      v_low := v_found.task_no + 1;
    end if;
  end loop;
  return v_first;
end
$$;
