-- tasker_line_up: gated steps of one definition that have become ready go where they wait: into a lane of the queue, or first into the line before a limit.
--   A step goes by the limit of its workflow, when it begins a task that has no place there yet, then by its own.
--   Whether there is a place already is known only of a line that is held: a look that is under way may just find that it was let go. So a step
--   whose line another holds stands in it, and is let in from there.
--   moves  none     locks  lines of places (those that others hold are skipped), queue rows (likewise), then lines in order
create or replace function tasker_line_up (p_definition_id int, p_most int)
  returns void
  language plpgsql
as $$
declare
  v_now timestamptz := tasker_clock();
  v_held tasker_line[];
begin
  v_held := array(
    select n from tasker_line n
     where (n.limit_id, n.key) in (
       select h.limit_id, h.key
         from (select r.task_no, r.step_no from tasker_ready r
                where r.definition_id = -p_definition_id and r.rank < 'infinity' order by r.rank, r.ready_no limit p_most) r
        cross join lateral (select k.limit_id, k.key, k.step_no from tasker_place k where k.task_no = r.task_no and not k.ended offset 0) h
        where h.step_no in (0, r.step_no))
     order by n.limit_id, n.key for update skip locked);
  with held as materialized (
    select (unnest(v_held)).*
  ),
  arrived as materialized (
    select r.task_no, r.step_no, r.rank, r.ready_no from tasker_ready r
     where r.definition_id = -p_definition_id and r.rank < 'infinity' order by r.rank, r.ready_no limit p_most for update skip locked
  ),
  aimed as materialized (
    select a.*, coalesce((select l.lane from tasker_lane l where l.definition_id = p_definition_id and l.labels = p.labels), p_definition_id) as lane,
           t.context, whole.limit_id as whole_id, whole.key_path as whole_path, own.limit_id as own_id, own.key_path as own_path
      from arrived a
     cross join lateral (select k.map_no, k.attempts from tasker_step k where k.task_no = a.task_no and k.step_no = a.step_no offset 0) s
     cross join lateral (select k.context from tasker_task k where k.task_no = a.task_no offset 0) t
     cross join lateral (select k.name, k.parents, k.labels from tasker_template k where k.definition_id = p_definition_id and k.step_no = coalesce(s.map_no, a.step_no) offset 0) p
     cross join lateral (select k.namespace, k.name from tasker_definition k where k.definition_id = p_definition_id offset 0) d
      left join tasker_limit whole on whole.namespace = d.namespace and whole.name = d.name and whole.step_name = '' and p.parents = '{}' and s.map_no is null
            and not exists (select from tasker_place h join held using (limit_id, key) where h.task_no = a.task_no and h.limit_id = whole.limit_id and not h.ended)
      left join tasker_limit own on own.namespace = d.namespace and own.name = d.name and own.step_name = p.name
            and not exists (select from tasker_place h join held using (limit_id, key) where h.task_no = a.task_no and h.limit_id = own.limit_id
                               and h.step_no = a.step_no and h.attempt = s.attempts + 1 and not h.ended)
  ),
  waiting as (
    insert into tasker_waiting (limit_id, key, rank, task_no, step_no, lane)
    select coalesce(m.whole_id, m.own_id), tasker_limit_key(m.context, case when m.whole_id is null then m.own_path else m.whole_path end), m.rank, m.task_no, m.step_no, m.lane
      from aimed m where m.whole_id is not null or m.own_id is not null
    on conflict do nothing
    returning tasker_waiting.limit_id, tasker_waiting.key
  ),
  line as (
    insert into tasker_line as l (limit_id, key, due_at)
    select distinct w.limit_id, w.key, v_now from waiting w order by 1, 2
    on conflict (limit_id, key) do update set due_at = least(l.due_at, excluded.due_at)
  )
  update tasker_ready r
     set definition_id = case when m.whole_id is null and m.own_id is null then m.lane else r.definition_id end,
         rank = case when m.whole_id is null and m.own_id is null then r.rank else 'infinity' end
    from aimed m
   where r.definition_id = -p_definition_id and r.rank = m.rank and r.ready_no = m.ready_no;
end
$$;
