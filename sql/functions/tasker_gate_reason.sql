-- tasker_gate_reason: what a ready step that is gated waits for, in words; null when it is an engine like any other step.
create or replace function tasker_gate_reason (p_task_no bigint, p_step_no int)
  returns text
  language plpgsql stable
as $$
declare
  v_labels text[];
  v_definition_id int;
  v_waiting tasker_waiting;
  v_limit tasker_limit;
begin
  select p.labels, s.definition_id into v_labels, v_definition_id
    from tasker_step s join tasker_template p on p.definition_id = s.definition_id and p.step_no = coalesce(s.map_no, s.step_no)
   where s.task_no = p_task_no and s.step_no = p_step_no;
  select w.* into v_waiting from tasker_waiting w where w.task_no = p_task_no and w.step_no = p_step_no order by w.rank desc limit 1;
  if found then
    select l.* into v_limit from tasker_limit l where l.limit_id = v_waiting.limit_id;
    return tasker_limit_reason(v_limit, v_waiting.key);
  end if;
  if v_labels <> '{}' and not exists (
      select from tasker_worker w join tasker_lane l on l.lane = any(w.definitions)
       where l.definition_id = v_definition_id and l.labels = v_labels and w.lease_until > tasker_clock() and not w.draining) then
    return format('an engine with the %s %s; none is running now', case when cardinality(v_labels) = 1 then 'label' else 'labels' end, array_to_string(v_labels, ', '));
  end if;
  return null;
end
$$;
