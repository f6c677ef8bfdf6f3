-- tasker_downstream: what runs again when a step is retried with everything downstream: the step and all below it, by number, parents first.
--   Not among them, and so left as it is, what waits for a step that was cancelled and stays so, and what no decision leads to that is not
--   taken anew. Empty when that goes for the step itself.
create or replace function tasker_downstream (p_task_no bigint, p_step_no int)
  returns int[]
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_again int[] := '{}';
  v_below record;
begin
  for v_below in
    with recursive below (step_no) as (
      select p_step_no
      union
      select c.step_no
        from below b
       cross join lateral (select k.children from tasker_step k where k.task_no = p_task_no and k.step_no = b.step_no offset 0) s,
             unnest(s.children) as c (step_no)
    )
    select b.step_no, parent.cancelled, parent.unchosen, parent.over, p.parents
      from below b
     cross join lateral (select k.definition_id from tasker_step k where k.task_no = p_task_no and k.step_no = b.step_no offset 0) s
     cross join lateral (select k.name, k.parents from tasker_template k where k.definition_id = s.definition_id and k.step_no = b.step_no offset 0) p
     cross join lateral (
       select coalesce(array_agg(o.step_no) filter (where o.state = 6), '{}') as cancelled,
              coalesce(array_agg(o.step_no) filter (where o.decision and o.state in (4, 8) and o.result is not null and not o.result ? p.name), '{}') as unchosen,
              coalesce(array_agg(o.step_no) filter (where o.state = 7 and o.passed_over), '{}') as over
         from unnest(p.parents) as x (step_no)
        cross join lateral (select k.step_no, k.state, k.passed_over, k.result, t.decision
                              from tasker_step k join tasker_template t using (definition_id, step_no)
                             where k.task_no = p_task_no and k.step_no = x.step_no offset 0) o) parent
     order by b.step_no
  loop
    continue when v_below.step_no <> p_step_no and not v_below.parents && v_again
               or not v_below.cancelled <@ v_again or not v_below.unchosen <@ v_again
               or v_below.step_no = p_step_no and v_below.parents <> '{}' and v_below.over @> v_below.parents;
    v_again := v_again || v_below.step_no;
  end loop;
  return v_again;
end
$$;
