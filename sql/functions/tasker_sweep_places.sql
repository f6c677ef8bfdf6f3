-- tasker_sweep_places: lines before limits are looked at of which a place is no longer held, whoever let it go: a dead engine, an operator; and
--   lines that nobody needs any more are gone. Engines call it now and then.
--   returns how many lines are to be looked at     locks  lines; those that others hold are skipped
create or replace function tasker_sweep_places ()
  returns int
  language plpgsql
  set enable_seqscan = off
as $$
declare
  v_now timestamptz := tasker_clock();
  v_lines int;
  v_idle record;
  v_limit tasker_limit;
begin
  if not exists (select from tasker_line) then
    return 0;
  end if;
  with let_go as materialized (
    select distinct h.limit_id, h.key
      from tasker_place h join tasker_limit l using (limit_id)
      left join lateral (select k.finished_at from tasker_task k where k.task_no = h.task_no offset 0) t on true
      left join lateral (select k.state, k.attempts, k.paused from tasker_step k where k.task_no = h.task_no and k.step_no = h.step_no and l.step_name <> '' offset 0) s on true
     where not h.ended
       and not case when l.step_name = '' then coalesce(t.finished_at is null and exists (select from tasker_task k where k.task_no = h.task_no), false)
                    else coalesce(s.state = 2 and s.attempts = h.attempt or s.state = 1 and s.attempts = h.attempt - 1 and not s.paused, false) end
  ),
  passed_by as materialized (
    -- a line that came into being while its limit was being raised was looked at by the number of before, and by nobody since
    select n.limit_id, n.key from tasker_line n join tasker_limit l using (limit_id)
     where n.due_at = 'infinity' and exists (select from tasker_waiting w where w.limit_id = n.limit_id and w.key = n.key) and tasker_free_count(l, n.key) > 0
  ),
  line as materialized (
    select n.limit_id, n.key from tasker_line n
     where n.due_at > v_now and ((n.limit_id, n.key) in (select g.limit_id, g.key from let_go g) or (n.limit_id, n.key) in (select b.limit_id, b.key from passed_by b))
       for update skip locked
  )
  update tasker_line n set due_at = v_now from line where n.limit_id = line.limit_id and n.key = line.key;
  get diagnostics v_lines = row_count;
  for v_idle in
    select n.limit_id, n.key from tasker_line n
     where not exists (select from tasker_waiting w where w.limit_id = n.limit_id and w.key = n.key)
       and (n.due_at <= v_now or not exists (select from tasker_place h where h.limit_id = n.limit_id and h.key = n.key))
     order by n.limit_id, n.key limit 1000 for update skip locked
  loop
    select l.* into v_limit from tasker_limit l where l.limit_id = v_idle.limit_id;
    perform tasker_look_at_places(v_limit, v_idle.key);
    -- by a statement of its own, now that the line is ours: who has come meanwhile is seen, who comes later waits for us
    delete from tasker_line n
     where n.limit_id = v_idle.limit_id and n.key = v_idle.key
       and not exists (select from tasker_place h where h.limit_id = n.limit_id and h.key = n.key)
       and not exists (select from tasker_waiting w where w.limit_id = n.limit_id and w.key = n.key);
    -- who has come since our list was made waits for what was just seen to be let go
    update tasker_line n set due_at = v_now
     where n.limit_id = v_idle.limit_id and n.key = v_idle.key and n.due_at > v_now
       and exists (select from tasker_waiting w where w.limit_id = n.limit_id and w.key = n.key);
  end loop;
  return v_lines;
end
$$;
