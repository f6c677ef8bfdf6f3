-- tasker_hold_steps: these steps move only by the caller until its transaction ends, and so does everything in the whole tasks.
--   p_whole  tasks of which every step that can still move is held; their queue rows are held already, see tasker_hold_queues
--   locks  steps by (task_no, step_no), whichever of the two they are named for, and of every whole task step 0 too, whatever its state: who leads
--          steps back out of a good end holds it as well, so that either sees what the other has done
--   raises 40001 when a step came to move in this moment, led back or made by a map step: it is not held, and the caller starts again
create or replace function tasker_hold_steps (p_task_nos bigint[], p_step_nos int[], p_whole bigint[])
  returns void
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
as $$
declare
  v_task_nos bigint[];
  v_step_nos int[];
begin
  select array_agg(held.task_no) filter (where held.moves), array_agg(held.step_no) filter (where held.moves) into v_task_nos, v_step_nos
    from (select k.task_no, k.step_no, true as moves from tasker_step k where k.task_no = any(p_whole) and k.state in (0, 1, 2, 3, 5)
          union all select s.task_no, s.step_no, true from unnest(p_task_nos, p_step_nos) as s (task_no, step_no)
          union all select w.task_no, 0, false from unnest(p_whole) as w (task_no)
           order by 1, 2) held
   cross join lateral (select from tasker_step k where k.task_no = held.task_no and k.step_no = held.step_no for update) s;
  -- step 0 and every map step that can move are held by now, so what a new snapshot does not show will not come. Except, unlike a join, is
  -- quadratic by no plan
  if p_whole <> '{}' and exists (
      select k.task_no, k.step_no from tasker_step k where k.task_no = any(p_whole) and k.state in (0, 1, 2, 3, 5)
      except select h.task_no, h.step_no from unnest(v_task_nos, v_step_nos) as h (task_no, step_no)) then
    raise exception 'a step came to move while the task was being held' using errcode = '40001';
  end if;
end
$$;
