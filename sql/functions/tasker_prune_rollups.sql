-- tasker_prune_rollups: minutes that began before p_minutes_from and hours before p_hours_from are gone; days stay.
--   Of a group of failures, its hours go with the minutes of the others, and the rest when nothing of it failed since p_hours_from.
--   locks  the rows that go     events none     returns how many there were
create or replace function tasker_prune_rollups (p_minutes_from timestamptz, p_hours_from timestamptz)
  returns int
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: what is old is a small part of the tables
as $$
declare
  v_tasks int;
  v_steps int;
  v_failures int;
begin
  delete from tasker_task_rollup r
   using tasker_definition d, generate_series(2, 8) as state (no), unnest(array[0, 1], array[p_minutes_from, p_hours_from]) as kept (grain, begins_at)
   where r.definition_id = d.definition_id and r.grain = kept.grain and r.state = state.no and r.begins_at < kept.begins_at;
  get diagnostics v_tasks = row_count;
  delete from tasker_step_rollup r
   using tasker_definition d, generate_series(2, 8) as state (no), generate_series(-1, d.step_count - 1) as step (no),
         unnest(array[0, 1], array[p_minutes_from, p_hours_from]) as kept (grain, begins_at)
   where r.definition_id = d.definition_id and r.grain = kept.grain and r.state = state.no and r.step_no = step.no and r.begins_at < kept.begins_at;
  get diagnostics v_steps = row_count;
  delete from tasker_failure_rollup r
   where r.last_at < p_hours_from or r.last_at < p_minutes_from and r.begins_at > '-infinity';
  get diagnostics v_failures = row_count;
  return v_tasks + v_steps + v_failures;
end
$$;
