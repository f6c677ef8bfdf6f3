-- tasker_keep_failure_note: what is known of a group of failures takes the place of what was; with nothing in it, nothing is known any more.
--   moves, events  none     locks  the note
create or replace function tasker_keep_failure_note (
  p_failure text, p_namespace text, p_owner text, p_note text, p_runbook text, p_until timestamptz, p_actor text
)
  returns void
  language plpgsql
as $$
begin
  if coalesce(p_owner, p_note, p_runbook, p_until::text) is null then
    delete from tasker_failure_note n where n.failure = p_failure;
    return;
  end if;
  insert into tasker_failure_note (failure, namespace, owner, note, runbook, until, changed_by, changed_at)
  values (p_failure, p_namespace, p_owner, p_note, p_runbook, p_until, p_actor, tasker_clock())
  on conflict (failure)
  do update set owner = excluded.owner, note = excluded.note, runbook = excluded.runbook, until = excluded.until,
                changed_by = excluded.changed_by, changed_at = excluded.changed_at;
end
$$;
