-- tasker_find_steps: the steps whose last error has all these words, those of the newest tasks first, behind (p_task_no, p_step_no), of these definitions; null: of all.
--   Where a word is common, the newest are enough; where it is not, the index has few.
create or replace function tasker_find_steps (p_query tsquery, p_definitions int[], p_task_no bigint, p_step_no int, p_limit int)
  returns table (task_no bigint, step_no int)
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: what is asked for is a small part of the table
  set enable_sort = off      -- nor may the newest be found by sorting all: the key has their order
as $$
#variable_conflict use_column
declare
  v_found int;
begin
  select count(*) into v_found
    from (select k.* from tasker_step_words k where (k.task_no, k.step_no) < (p_task_no, p_step_no) order by k.task_no desc, k.step_no desc limit 5000 offset 0) w
   where w.words @@ p_query and (p_definitions is null or w.definition_id = any(p_definitions));
  if v_found >= p_limit then
    return query
    select w.task_no, w.step_no
      from (select k.* from tasker_step_words k where (k.task_no, k.step_no) < (p_task_no, p_step_no) order by k.task_no desc, k.step_no desc limit 5000 offset 0) w
     where w.words @@ p_query and (p_definitions is null or w.definition_id = any(p_definitions))
     order by w.task_no desc, w.step_no desc limit p_limit;
  else
    return query
    select n.task_no, n.step_no
      from (select w.task_no, w.step_no from tasker_step_words w
             where w.words @@ p_query and case when (w.task_no, w.step_no) < (p_task_no, p_step_no) then p_definitions is null or w.definition_id = any(p_definitions) end
            offset 0) n
     order by n.task_no desc, n.step_no desc limit p_limit;
  end if;
end
$$;
