-- tasker_find_steps: the steps whose last error has all these words, those of the newest tasks first, behind (p_task_no, p_step_no), of these definitions; null: of all.
--   Where a word is common, the newest are enough; where it is not, the index has few.
--   What it looks at is bounded, whoever asks: the newest 5,000 of all; where they have too few, the 10,000 that the index names first, in no order; where it
--   names more, the newest 20,000 of these definitions, as many of each. A step that is in none of them is not found: its words are on 10,000 others, and it is old.
create or replace function tasker_find_steps (p_query tsquery, p_definitions int[], p_task_no bigint, p_step_no int, p_limit int)
  returns table (task_no bigint, step_no int)
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: what is asked for is a small part of the table
  set enable_sort = off      -- nor may the newest be found by sorting all: the keys have their order
as $$
#variable_conflict use_column
declare
  c_newest constant int := 5000;
  c_hits constant int := 10000;
  c_own constant int := 20000;
  v_each int := greatest(c_own / greatest(cardinality(p_definitions), 1), 1);   -- of each definition
  v_found bigint[];   -- as tasker_step_id says them: in the order asked for
  v_more bigint[];
  v_hits int;
begin
  select array_agg(tasker_step_id(w.task_no, w.step_no)) into v_found
    from (select k.* from tasker_step_words k where (k.task_no, k.step_no) < (p_task_no, p_step_no) order by k.task_no desc, k.step_no desc limit c_newest offset 0) w
   where w.words @@ p_query and (p_definitions is null or w.definition_id = any(p_definitions));
  if coalesce(cardinality(v_found), 0) < p_limit then
    -- apart, or a plan that knows how few are taken may walk the key through all steps instead
    with hit as materialized (
      select w.task_no, w.step_no, w.definition_id from tasker_step_words w where w.words @@ p_query
    )
    select array_agg(tasker_step_id(h.task_no, h.step_no))
             filter (where (h.task_no, h.step_no) < (p_task_no, p_step_no) and (p_definitions is null or h.definition_id = any(p_definitions))), count(*) into v_more, v_hits
      from (select hit.* from hit limit c_hits) h;
    v_found := v_found || v_more;
    if v_hits = c_hits then
      select array_agg(tasker_step_id(n.task_no, n.step_no)) into v_more
        from (select w.task_no, w.step_no
                from unnest(p_definitions) as d (definition_id)
               -- an equality would let the planner walk the steps of all definitions by their number instead
               cross join lateral (select k.* from tasker_step_words k
                                    where k.definition_id >= d.definition_id and (k.definition_id, k.task_no, k.step_no) < (d.definition_id, p_task_no, p_step_no)
                                    order by k.definition_id desc, k.task_no desc, k.step_no desc limit v_each) w
               where w.words @@ p_query
              union all
              select w.task_no, w.step_no
                from (select k.* from tasker_step_words k where p_definitions is null and (k.task_no, k.step_no) < (p_task_no, p_step_no)
                       order by k.task_no desc, k.step_no desc limit c_own offset 0) w
               where w.words @@ p_query) n;
      v_found := v_found || v_more;
    end if;
  end if;
  return query
  select f.task_no, f.step_no from (select distinct unnest(v_found) as step_id) n cross join lateral tasker_step_place(n.step_id) f
   order by n.step_id desc limit p_limit;
end
$$;
