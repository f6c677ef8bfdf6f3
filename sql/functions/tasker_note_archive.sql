-- tasker_note_archive: how the last batch of a namespace went: so many tasks were written, or none, and why.
-- needs: tasker_clock
--   p_error  null: it was written, and what was wrong before is over
create or replace function tasker_note_archive (p_namespace text, p_task_count int, p_error text)
  returns void
  language sql
as $$
  insert into tasker_archive_state (namespace, task_count, written_at, error, failed_at)
  values (p_namespace, p_task_count, case when p_error is null then tasker_clock() end, p_error, case when p_error is not null then tasker_clock() end)
  on conflict (namespace) do update
     set task_count = tasker_archive_state.task_count + excluded.task_count,
         written_at = coalesce(excluded.written_at, tasker_archive_state.written_at),
         error = excluded.error,
         failed_at = excluded.failed_at
$$;
