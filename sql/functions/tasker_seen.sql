-- tasker_seen: the token of a preview: the same again exactly when the action still does the same to the same steps, none of which has run or
--   ended meanwhile, and the task's context is the same. What the action leaves as it is may change as it likes.
create or replace function tasker_seen (p_before tasker_standing[], p_after tasker_standing[])
  returns text
  language sql immutable
as $$
  select left(encode(sha256(convert_to(
           string_agg(concat_ws(' ', coalesce(e.step_no::text, 'task'), e.from_state, e.to_state, e.effect, e.attempts, e.to_attempts, extract(epoch from e.finished_at)), ','
                      order by e.step_no)
           || (select concat_ws(' ', t.paused, t.context) from unnest(p_before) t where t.step_no is null), 'UTF8')), 'hex'), 32)
    from tasker_effects(p_before, p_after) e
   where e.effect <> 'kept' or e.step_no is null
$$;
