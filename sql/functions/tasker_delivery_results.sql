-- tasker_delivery_results: results of earlier steps, by name, for the handler of a delivery; a skipped step's is null.
-- needs: tasker_result_text
--   a result that lies in the object store comes as tasker_result_text has it
create or replace function tasker_delivery_results (p_token uuid, p_names text[])
  returns table (step_name text, result text)
  language sql stable
as $$
  select p.name, case when r.result ? '$object' then tasker_result_text(r.task_no, r.step_no, r.result) else coalesce(r.result::text, 'null') end
    from tasker_delivery d
    join tasker_task t on t.task_no = d.task_no
    join tasker_template p on p.definition_id = t.definition_id and p.name = any(p_names)
    join tasker_step r on r.task_no = d.task_no and r.step_no = p.step_no and r.state in (4, 7, 8)
   where d.token = p_token
$$;
