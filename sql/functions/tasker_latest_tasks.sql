-- tasker_latest_tasks: the newest tasks of a definition, the newest first, at most p_limit of those with a number below p_before.
--   returns took, the seconds from the first step to the end; null while the task is open or when it never started
create or replace function tasker_latest_tasks (p_definition int, p_limit int, p_before bigint default 9223372036854775807)
  returns table (task_no bigint, task_id uuid, state smallint, created_at timestamptz, finished_at timestamptz, took float8)
  language plpgsql stable
  set enable_seqscan = off     -- plans must not depend on statistics: only the index of a definition has the order asked for here. An equality
  set enable_bitmapscan = off  -- would let the planner walk the tasks of all definitions by their number instead
  set enable_sort = off
as $$
#variable_conflict use_column
begin
  return query
  select t.task_no, t.task_id, t.state, t.created_at, t.finished_at, extract(epoch from t.finished_at - t.started_at)::float8
    from tasker_task t
   where t.definition_id >= p_definition and (t.definition_id, t.task_no) < (p_definition, p_before)
   order by t.definition_id desc, t.task_no desc limit p_limit;
end
$$;
