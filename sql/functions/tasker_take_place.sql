-- tasker_take_place: one step passes a limit. From the limit of its workflow it goes on to its own, if it has one, else into its lane of the queue.
--   returns how many places that took: none when its task has one already     locks  nothing: the caller holds the line and the queue row
create or replace function tasker_take_place (p_limit tasker_limit, p_key text, p_task_no bigint, p_step_no int, p_rank timestamptz, p_lane int)
  returns int
  language plpgsql
as $$
declare
  v_step tasker_step;
  v_taken int;
  v_has_own boolean;
begin
  select s.* into v_step from tasker_step s where s.task_no = p_task_no and s.step_no = p_step_no;
  v_has_own := p_limit.step_name = '' and exists (
    select from tasker_template p join tasker_limit l on l.namespace = p_limit.namespace and l.name = p_limit.name and l.step_name = p.name
     where p.definition_id = v_step.definition_id and p.step_no = p_step_no);
  insert into tasker_place (limit_id, key, task_no, step_no, attempt)
  values (p_limit.limit_id, p_key, p_task_no, case when p_limit.step_name = '' then 0 else p_step_no end, case when p_limit.step_name = '' then 0 else v_step.attempts + 1 end)
  -- one that was let go, but still counts within the period, is taken anew
  on conflict (limit_id, key, task_no, step_no, attempt) do update set ended = false, started_at = null where tasker_place.ended;
  get diagnostics v_taken = row_count;
  update tasker_ready r set rank = p_rank, definition_id = case when v_has_own then -v_step.definition_id else p_lane end
   where r.task_no = p_task_no and r.step_no = p_step_no;
  return v_taken;
end
$$;
