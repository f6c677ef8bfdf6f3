-- tasker_pass_over: the children that a decision did not choose are skipped at once, whatever else they wait for.
--   p_step    the decision, as it was before it ended     p_chosen  a JSON list of the names of those of its children that go on; null: all go on
--   moves  pending -> skipped     locks  none; the caller holds the whole task     events step.skipped
--   raises 22023 when a name is no child of the step
--   returns the numbers of the skipped; the caller's next call is tasker_unlock_children for these and the decision
create or replace function tasker_pass_over (p_step tasker_step, p_chosen jsonb)
  returns int[]
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_now timestamptz := tasker_clock();
  v_decision tasker_template;
  v_names text[];
  v_skipped int[];
begin
  select p.* into v_decision from tasker_template p where p.definition_id = p_step.definition_id and p.step_no = coalesce(p_step.map_no, p_step.step_no);
  if not v_decision.decision or p_chosen is null then
    return '{}';
  end if;
  select array_agg(p.name) into v_names from tasker_template p where p.definition_id = p_step.definition_id and p.step_no = any(v_decision.children);
  if jsonb_typeof(p_chosen) <> 'array' or exists (select from jsonb_array_elements(p_chosen) as chosen (value) 
                                                        where jsonb_typeof(chosen.value) <> 'string' or chosen.value #>> '{}' <> all(v_names)) then
    raise exception 'what decision "%" chose is no list of its children: %', v_decision.name, p_chosen using errcode = '22023';
  end if;
  with skipped as (
    update tasker_step s
       set state = 7, passed_over = true, finished_at = v_now
      from tasker_template p
     where s.task_no = p_step.task_no and s.step_no = any(v_decision.children) and case when s.state = 0 then true end
       and p.definition_id = s.definition_id and p.step_no = s.step_no and not p_chosen ? p.name
    returning s.step_no
  ),
  history as (
    insert into tasker_history (task_no, step_no, at, from_state, to_state, reason)
    select p_step.task_no, s.step_no, v_now, 0, 7, 'not chosen by ' || v_decision.name from skipped s order by s.step_no
  )
  select array_agg(s.step_no order by s.step_no) into v_skipped from skipped s;
  return coalesce(v_skipped, '{}');
end
$$;
