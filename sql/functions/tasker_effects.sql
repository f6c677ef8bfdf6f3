-- tasker_effects: what became of each step, and of the task (step_no null), between two standings of it. Items of before, which a map step has made
--   anew since, are left out.
--   effect  kept       is as it was
--           reset      runs again: ready, or pending while it waits for others
--           unblocked  ready, or pending as before but no longer behind a failed step
--           skipped, resolved, cancelled
--           bypassed   will be skipped when its parents are done
--           stopping   runs, and was asked to stop
--           replaced   an item of a map step that makes its items anew
--           held       will not start until the task is resumed        released  may start again
--           reopened   the task goes on        ended  the task has come to its end
create or replace function tasker_effects (p_before tasker_standing[], p_after tasker_standing[])
  returns table (step_no int, map_no int, item_no int, from_state smallint, to_state smallint, effect text, attempts smallint, to_attempts smallint, finished_at timestamptz)
  language sql immutable
as $$
  select s.step_no, s.map_no, s.item_no, s.state, s.to_state,
         case
           when s.live and not s.to_live then 'replaced'
           when s.to_state <> s.state then
             case when s.step_no is null then case when s.to_state in (0, 2) then 'reopened' else 'ended' end
                  when s.to_state = 6 then 'cancelled' when s.to_state = 7 then 'skipped' when s.to_state = 8 then 'resolved'
                  when s.state = 0 then 'unblocked' else 'reset' end
           when s.to_stopping and not s.stopping then 'stopping'
           when s.to_bypass and not s.bypass then 'bypassed'
           when s.blocked and not s.to_blocked then 'unblocked'
           when s.to_paused <> s.paused and (s.step_no is null or s.state in (0, 1, 3)) then case when s.paused then 'released' else 'held' end
           else 'kept'
         end,
         s.attempts, s.to_attempts, s.finished_at
    from unnest(p_before, p_after) as s (step_no, map_no, item_no, state, attempts, finished_at, paused, stopping, bypass, blocked, live, context,
                                         to_step_no, to_map_no, to_item_no, to_state, to_attempts, to_finished_at, to_paused, to_stopping, to_bypass, to_blocked, to_live, to_context)
   where s.live
$$;
