-- tasker_find_tasks: the newest tasks with all these words, below p_before, of these definitions; null: of all.
--   Where a word is common, the newest tasks are enough; where it is not, the index has few. Tasks that are not there yet are looked through, 500 at most.
--   What it looks at is bounded, whoever asks: the newest 5,000 of all; where they have too few, the 10,000 that the index names first, in no order; where it
--   names more, the newest 20,000 of these definitions, as many of each. A task that is in none of them is not found: its words are on 10,000 others, and it is old.
--   p_names  how names of secrets end. If some of them were not yet known to whoever wrote the words down, those count for nothing.
create or replace function tasker_find_tasks (p_query tsquery, p_definitions int[], p_before bigint, p_limit int, p_names text[])
  returns table (task_no bigint)
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: what is asked for is a small part of the tables
  set enable_sort = off      -- nor may the newest be found by sorting all: the key has their order
as $$
#variable_conflict use_column
declare
  c_newest constant int := 5000;
  c_hits constant int := 10000;
  c_own constant int := 20000;
  v_each int := greatest(c_own / greatest(cardinality(p_definitions), 1), 1);   -- of each definition
  v_tasks_to bigint := coalesce((select p.tasks_to from tasker_words_place p where p_names <@ p.names), 0);
  v_below bigint := least(p_before, v_tasks_to + 1);
  v_names text[] := array(select unnest(p_names) union select unnest(p.names) from tasker_words_place p);
  v_found bigint[];
  v_more bigint[];
  v_hits int;
begin
  select array_agg(n.task_no) into v_found
    from (select t.task_no
            from (select k.* from tasker_task k where k.task_no > v_tasks_to and k.task_no < p_before order by k.task_no desc limit 500) t
           where tasker_words(tasker_searchable(t.context, t.definition_id, v_names), t.tags, array[t.initiator, t.source_system, t.reason, t.correlation_id]) @@ p_query
             and (p_definitions is null or t.definition_id = any(p_definitions))
          union all
          select w.task_no
            from (select k.* from tasker_task_words k where k.task_no < v_below order by k.task_no desc limit c_newest offset 0) w
           where w.words @@ p_query and (p_definitions is null or w.definition_id = any(p_definitions))) n;
  if coalesce(cardinality(v_found), 0) < p_limit then
    -- apart, or a plan that knows how few are taken may walk the key through all tasks instead
    with hit as materialized (
      select w.task_no, w.definition_id from tasker_task_words w where w.words @@ p_query
    )
    select array_agg(h.task_no) filter (where h.task_no < v_below and (p_definitions is null or h.definition_id = any(p_definitions))), count(*) into v_more, v_hits
      from (select hit.* from hit limit c_hits) h;
    v_found := v_found || v_more;
    if v_hits = c_hits then
      select array_agg(n.task_no) into v_more
        from (select t.task_no
                from unnest(p_definitions) as d (definition_id)
               cross join lateral tasker_latest_tasks(d.definition_id, v_each, v_below) t
               cross join lateral (select k.words from tasker_task_words k where k.task_no = t.task_no offset 0) w
               where w.words @@ p_query
              union all
              select w.task_no
                from (select k.* from tasker_task_words k where p_definitions is null and k.task_no < v_below order by k.task_no desc limit c_own offset 0) w
               where w.words @@ p_query) n;
      v_found := v_found || v_more;
    end if;
  end if;
  return query select n.task_no from (select distinct unnest(v_found) as task_no) n order by n.task_no desc limit p_limit;
end
$$;
