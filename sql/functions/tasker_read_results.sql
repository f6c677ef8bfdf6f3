-- tasker_read_results: results of steps that have one; a skipped step's is null.
-- needs: tasker_result_text
--   a result that lies in the object store comes as tasker_result_text has it
create or replace function tasker_read_results (p_task_nos bigint[], p_step_nos int[])
  returns table (task_no bigint, step_no int, result text)
  language sql stable
as $$
  select s.task_no, s.step_no, case when s.result ? '$object' then tasker_result_text(s.task_no, s.step_no, s.result) else coalesce(s.result::text, 'null') end
    from unnest(p_task_nos, p_step_nos) as wanted (task_no, step_no)
   cross join lateral (select k.task_no, k.step_no, k.result from tasker_step k
                        where k.task_no = wanted.task_no and k.step_no = wanted.step_no and k.state in (4, 7, 8) offset 0) s
$$;
