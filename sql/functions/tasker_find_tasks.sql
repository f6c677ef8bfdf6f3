-- tasker_find_tasks: the newest tasks with all these words, below p_before, of these definitions; null: of all.
--   Where a word is common, the newest tasks are enough; where it is not, the index has few. Tasks that are not there yet are looked through, 500 at most.
--   p_names  how names of secrets end. If some of them were not yet known to whoever wrote the words down, those count for nothing.
create or replace function tasker_find_tasks (p_query tsquery, p_definitions int[], p_before bigint, p_limit int, p_names text[])
  returns table (task_no bigint)
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: what is asked for is a small part of the tables
  set enable_sort = off      -- nor may the newest be found by sorting all: the key has their order
as $$
#variable_conflict use_column
declare
  v_tasks_to bigint := coalesce((select p.tasks_to from tasker_words_place p where p_names <@ p.names), 0);
  v_names text[] := array(select unnest(p_names) union select unnest(p.names) from tasker_words_place p);
  v_found bigint[];
begin
  select array_agg(n.task_no) into v_found
    from (select t.task_no
            from (select k.* from tasker_task k where k.task_no > v_tasks_to and k.task_no < p_before order by k.task_no desc limit 500) t
           where tasker_words(tasker_searchable(t.context, t.definition_id, v_names), t.tags, array[t.initiator, t.source_system, t.reason, t.correlation_id]) @@ p_query
             and (p_definitions is null or t.definition_id = any(p_definitions))
          union all
          select w.task_no
            from (select k.* from tasker_task_words k where k.task_no < least(p_before, v_tasks_to + 1) order by k.task_no desc limit 5000 offset 0) w
           where w.words @@ p_query and (p_definitions is null or w.definition_id = any(p_definitions))) n;
  if coalesce(cardinality(v_found), 0) < p_limit then
    select array_agg(n.task_no) into v_found
      from (select unnest(v_found) as task_no
            union
            select w.task_no from tasker_task_words w
             where w.words @@ p_query and case when w.task_no < least(p_before, v_tasks_to + 1) then p_definitions is null or w.definition_id = any(p_definitions) end) n;
  end if;
  return query select n.task_no from unnest(v_found) as n (task_no) order by n.task_no desc limit p_limit;
end
$$;
