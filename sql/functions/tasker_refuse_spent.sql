-- tasker_refuse_spent: these steps may be tried once more; attempts are counted in a smallint, and a claim that cannot count stops for all that it takes.
--   moves  none     locks  none: the caller holds the steps     events none
--   raises WF002 when one of them has been tried 32,767 times
create or replace function tasker_refuse_spent (p_task_no bigint, p_step_nos int[])
  returns void
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_name text;
begin
  select tasker_step_name(p.name, s.item_no) into v_name
    from tasker_step s join tasker_template p on p.definition_id = s.definition_id and p.step_no = coalesce(s.map_no, s.step_no)
   where s.task_no = p_task_no and s.step_no = any(p_step_nos) and case when s.attempts >= 32767 then true end
   order by s.step_no limit 1;
  if found then
    raise exception '% has been tried 32,767 times, which is as often as can be; skip or resolve it, or begin a new task', v_name using errcode = 'WF002';
  end if;
end
$$;
