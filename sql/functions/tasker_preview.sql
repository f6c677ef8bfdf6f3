-- tasker_preview: what an operator's action would do now. The action itself is carried out, looked at and undone, so it cannot say anything else.
--   p_action, p_step_name, p_given  as for tasker_act
--   moves   nothing     locks  what the action locks, until it returns     events none
--   raises  what the action raises; 40001 when a step came to move in this moment, as tasker_hold_steps, and the caller starts again
--   returns a row per step by number, as tasker_effects says, and last one for the task (step_no null) with the token that tasker_act takes as p_seen
create or replace function tasker_preview (p_task_id uuid, p_action text, p_step_name text default null, p_given jsonb default null)
  returns table (step_no int, step_name text, from_state text, to_state text, effect text, seen text)
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
#variable_conflict use_column
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_definition_id int := (select t.definition_id from tasker_task t where t.task_no = v_task_no);
  v_words text[] := array(select tasker_state_name(code::smallint) from generate_series(0, 8) as code order by code);   -- not asked for once a row
  v_before tasker_standing[];
  v_after tasker_standing[];
begin
  begin
    v_before := tasker_stand(v_task_no);
    perform tasker_act(p_task_id, p_action, p_step_name, p_given, null, null);
    v_after := tasker_stand(v_task_no);
    if cardinality(v_before) <> cardinality(v_after) then
      raise exception 'a map step made its items while the task was being looked at' using errcode = '40001';
    end if;
    raise exception using errcode = 'WF999';   -- undoes all of this, its notifications too, and lets go of the locks; the variables stay
  exception when sqlstate 'WF999' then   -- not WF000, which would stand for all that begin with WF
    null;
  end;
  return query
  select e.step_no, tasker_step_name(p.name, e.item_no), v_words[e.from_state + 1], v_words[e.to_state + 1], e.effect,
         case when e.step_no is null then tasker_seen(v_before, v_after) end
    from tasker_effects(v_before, v_after) e
    left join lateral (select k.name from tasker_template k where k.definition_id = v_definition_id and k.step_no = coalesce(e.map_no, e.step_no) offset 0) p on true;
end
$$;
