-- tasker_keep_journal: an engine writes down what attempts have said: lines of log, and how far they are.
--   p_batch     goes up with every batch of a worker; one that was taken already changes nothing, so that it may be sent again when its reply was lost
--   p_task_nos, p_step_nos, p_attempts   the attempts that the batch is about; lines and progress name them by their place here, from 1
--   p_lines     [[place, age in seconds, level, message, fields or null], ...] in their order
--   p_progress  [[place, age in seconds, done, total or null, note or null], ...], one per attempt at most
--   moves  nothing     locks  the worker's row, the tasks of attempts that are over, then progress by (task_no, step_no)
--   fence  lines count for what this worker holds or held; progress of an attempt that is over only while no other has followed     events none
--   returns whether the batch was taken; not so when it was before, or when the worker is gone
create or replace function tasker_keep_journal
  (p_worker int, p_batch bigint, p_task_nos bigint[], p_step_nos int[], p_attempts smallint[], p_lines jsonb, p_progress jsonb)
  returns boolean
  language plpgsql
  set enable_seqscan = off   -- plans must not depend on statistics: these few tasks are a small part of the tables
as $$
declare
  v_now timestamptz := tasker_clock();
  v_held boolean[];     -- by place: lines of it count
  v_newest boolean[];   -- by place: its progress counts
  v_over bigint[];
begin
  update tasker_worker w set journal_no = p_batch where w.worker_id = p_worker and w.journal_no < p_batch;
  if not found then
    return false;
  end if;

  select array_agg(coalesce(s.runs, false) order by h.place), array_agg(coalesce(s.runs or s.ended, false) order by h.place),
         array_agg(distinct h.task_no) filter (where s.runs is distinct from true)
    into v_held, v_newest, v_over
    from unnest(p_task_nos, p_step_nos, p_attempts) with ordinality as h (task_no, step_no, attempt, place)
    left join lateral (select k.state = 2 and k.worker_id = p_worker and k.attempts = h.attempt as runs, k.state <> 2 and k.attempts = h.attempt as ended
                         from tasker_step k where k.task_no = h.task_no and k.step_no = h.step_no offset 0) s on true;

  if v_over is not null then
    -- what is dropped in this moment takes no more lines
    perform from tasker_task t where t.task_no = any(v_over) order by t.task_no for key share;
    -- an intersection reads each history once, however many attempts of its task there are
    select array_agg(v_held[h.place] or past.task_no is not null order by h.place) into v_held
      from unnest(p_task_nos, p_step_nos, p_attempts) with ordinality as h (task_no, step_no, attempt, place)
      left join (select x.task_no, x.step_no, x.attempt from unnest(p_task_nos, p_step_nos, p_attempts) as x (task_no, step_no, attempt)
                 intersect
                 select k.task_no, k.step_no, k.attempt from tasker_history k
                  where k.task_no = any(v_over) and k.to_state = 2 and k.worker_id = p_worker) past
        on past.task_no = h.task_no and past.step_no = h.step_no and past.attempt = h.attempt;
  end if;

  insert into tasker_log (task_no, step_no, attempt, at, level, message, fields)
  select p_task_nos[l.of], p_step_nos[l.of], p_attempts[l.of], v_now - l.age * interval '1 second', l.level, l.message, nullif(l.fields, 'null')
    from jsonb_array_elements(p_lines) with ordinality as line (value, place)
   cross join lateral (select (line.value ->> 0)::int as of, (line.value ->> 1)::float8 as age, (line.value ->> 2)::smallint as level,
                              line.value ->> 3 as message, line.value -> 4 as fields) l
   where v_held[l.of]
   order by line.place;

  insert into tasker_progress as p (task_no, step_no, attempt, at, done, total, note)
  select p_task_nos[g.of], p_step_nos[g.of], p_attempts[g.of], v_now - g.age * interval '1 second', g.done, g.total, g.note
    from jsonb_array_elements(p_progress) as told (value)
   cross join lateral (select (told.value ->> 0)::int as of, (told.value ->> 1)::float8 as age, (told.value ->> 2)::float8 as done,
                              (told.value ->> 3)::float8 as total, told.value ->> 4 as note) g
   where v_held[g.of] and v_newest[g.of]
   order by p_task_nos[g.of], p_step_nos[g.of]
  on conflict (task_no, step_no) do update
    set xid = excluded.xid, attempt = excluded.attempt, at = excluded.at, done = excluded.done, total = excluded.total, note = excluded.note;
  return true;
end
$$;
