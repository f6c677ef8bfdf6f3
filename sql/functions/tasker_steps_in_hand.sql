-- tasker_steps_in_hand: those of the tasks in which somebody is acting on a step at this moment. All their other steps that could move are held.
--   locks  the steps of these tasks that could still move and their step 0, which whoever acts on a whole task holds, as far as they are free;
--          nobody is waited for
create or replace function tasker_steps_in_hand (p_task_nos bigint[])
  returns bigint[]
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: these few tasks are a small part of the tables
as $$
declare
  v_movable bigint;
  v_in_hand bigint[] := '{}';
  v_free int;
  v_count int;
begin
  for v_movable, v_count in
    select s.task_no, count(*) from tasker_step s
     where s.task_no = any(p_task_nos) and (s.state in (0, 1, 2, 3, 5) or s.step_no = 0) group by s.task_no order by s.task_no
  loop
    select count(*) into v_free
      from (select from tasker_step s where s.task_no = v_movable and (s.state in (0, 1, 2, 3, 5) or s.step_no = 0) for update skip locked) free;
    if v_free < v_count then
      v_in_hand := v_in_hand || v_movable;
    end if;
  end loop;
  return v_in_hand;
end
$$;
