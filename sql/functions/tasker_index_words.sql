-- tasker_index_words: the next tasks and failures can be found by their words, up to p_limit of each.
--   moves  none     locks  the one row of tasker_words_place, for which nobody waits: whoever finds it held leaves the work to its holder
--   Tasks go by their number, once nothing below can still appear: a creation takes its transaction number first, as this call does last. Failures follow the
--   roll-ups, which have decided that. Call it in a transaction of its own.     events none
--   What was read before the row was held may be older than the row: the place never goes back for it.
--   p_names  how names of secrets end; with one that was not known before, all tasks are written down anew, and are found only by then. None is forgotten.
--   returns whether more can be done at once
create or replace function tasker_index_words (p_limit int, p_names text[])
  returns boolean
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: these few rows are a small part of the tables
as $$
declare
  v_place tasker_words_place;
  v_last bigint := coalesce(pg_sequence_last_value('tasker_task_no'), 0);
  v_moves_to bigint := coalesce((select p.counted_to from tasker_rollup_place p), 0);
  v_xid bigint;
  v_low_xid bigint;
  v_tasks_to bigint;
  v_tasks int := 0;
  v_moves int;
begin
  select p.* into v_place from tasker_words_place p;
  if not found then
    insert into tasker_words_place (names) values (p_names) on conflict do nothing;
    return true;
  end if;
  if v_place.tasks_to >= v_last and v_place.moves_to >= v_moves_to and p_names <@ v_place.names then
    return false;
  end if;
  v_xid := pg_current_xact_id()::text::bigint;
  v_low_xid := pg_snapshot_xmin(pg_current_snapshot())::text::bigint;
  select p.* into v_place from tasker_words_place p for update skip locked;
  if not found then
    return false;
  end if;
  if not p_names <@ v_place.names then
    update tasker_words_place p set tasks_to = 0, names = array(select unnest(p.names) union select unnest(p_names) order by 1);
    return true;
  end if;

  v_tasks_to := v_place.tasks_to;
  if v_low_xid >= v_place.known_xid and v_place.known_to > v_place.tasks_to then
    select max(t.task_no), count(*) into v_tasks_to, v_tasks
      from (select k.task_no from tasker_task k where k.task_no > v_place.tasks_to and k.task_no <= v_place.known_to order by k.task_no limit p_limit) t;
    v_tasks_to := case when v_tasks = p_limit then v_tasks_to else v_place.known_to end;
    insert into tasker_task_words (task_no, definition_id, words)
    select t.task_no, t.definition_id, tasker_words(tasker_searchable(t.context, t.definition_id, v_place.names), t.tags, array[t.initiator, t.source_system, t.reason, t.correlation_id])
      from tasker_task t where t.task_no > v_place.tasks_to and t.task_no <= v_tasks_to
    on conflict (task_no) do update set words = excluded.words;
  end if;

  select max(h.event_id), count(*) into v_moves_to, v_moves
    from (select k.event_id from tasker_history k where k.event_id > v_place.moves_to and k.event_id <= v_moves_to order by k.event_id limit 5 * p_limit) h;
  v_moves_to := coalesce(v_moves_to, v_place.moves_to);
  insert into tasker_step_words as w (task_no, step_no, definition_id, words)
  select f.task_no, f.step_no, s.definition_id, to_tsvector('simple', left(concat_ws(' ', f.detail ->> 'type', f.detail ->> 'code', f.detail ->> 'message'), 16384))
    from (select distinct on (h.task_no, h.step_no) h.task_no, h.step_no, h.detail from tasker_history h
           where h.event_id > v_place.moves_to and h.event_id <= v_moves_to and h.to_state in (3, 5) and h.detail ? 'message' and h.step_no is not null
           order by h.task_no, h.step_no, h.event_id desc) f
   cross join lateral (select k.definition_id from tasker_step k where k.task_no = f.task_no and k.step_no = f.step_no offset 0) s
  on conflict (task_no, step_no) do update set words = excluded.words;
  -- a retry may have changed the context
  update tasker_task_words w set words = tasker_words(tasker_searchable(t.context, t.definition_id, v_place.names), t.tags, array[t.initiator, t.source_system, t.reason, t.correlation_id])
    from tasker_history h, tasker_task t
   where h.event_id > v_place.moves_to and h.event_id <= v_moves_to and h.step_no is null and h.detail ? 'context_before'
     and t.task_no = h.task_no and w.task_no = h.task_no;

  update tasker_words_place p
     set tasks_to = v_tasks_to, moves_to = v_moves_to,
         known_to = case when v_tasks_to >= v_place.known_to then greatest(v_last, v_tasks_to) else p.known_to end,
         known_xid = case when v_tasks_to >= v_place.known_to then v_xid else p.known_xid end;
  return v_tasks = p_limit or v_moves = 5 * p_limit;
end
$$;
