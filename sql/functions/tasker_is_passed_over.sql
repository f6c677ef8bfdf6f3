-- tasker_is_passed_over: whether no way leads to a step: a decision before it did not choose it, or every step before it was passed over.
--   A decision that was skipped, or moved by hand without a result, has chosen all. Asked when the parents are done, or held by the caller.
create or replace function tasker_is_passed_over (p_task_no bigint, p_step_no int)
  returns boolean
  language sql stable
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
  select coalesce(bool_or(o.decision and o.state in (4, 8) and o.result is not null and not o.result ? o.child) or bool_and(o.state = 7 and o.passed_over), false)
    from (select k.definition_id from tasker_step k where k.task_no = p_task_no and k.step_no = p_step_no offset 0) s
   cross join lateral (select p.name, p.parents from tasker_template p where p.definition_id = s.definition_id and p.step_no = p_step_no offset 0) own
   cross join unnest(own.parents) as parent (step_no)
   cross join lateral (select own.name as child, p.decision, k.state, k.passed_over, k.result
                         from tasker_step k join tasker_template p using (definition_id, step_no)
                        where k.task_no = p_task_no and k.step_no = parent.step_no offset 0) o
$$;
