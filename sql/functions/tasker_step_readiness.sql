-- tasker_step_readiness: every step of a task with what it waits for, in words.
--   returns one row per step in order, items before their map step, which they are parents of; waiting_for is empty once a step has ended     raises WF001 unknown task
create or replace function tasker_step_readiness (p_task_id uuid)
  returns table (step_id bigint, step_name text, state text, total_parents int, satisfied_parents int, attempts smallint, retry_limit smallint,
                 next_retry_at timestamptz, waiting_for text)
  language plpgsql stable
  set enable_seqscan = off   -- plans must not depend on statistics: one task is a small part of the tables
  set enable_nestloop = off  -- and its steps, which are joined to each other here, are thousands at times: no plan can know
  set jit = off              -- where a forbidden plan has a price, it is one that would be compiled for
as $$
#variable_conflict use_column
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_definition_id int := (select k.definition_id from tasker_task k where k.task_no = v_task_no);
begin
  return query
  with recursive step as materialized (
    select s.step_no, s.definition_id, s.state, s.pending, s.attempts, s.retry_limit, s.children, s.bypass, s.cancel_requested, s.worker_id, s.map_no, s.gated, s.first_item, s.item_count,
           tasker_step_name(p.name, s.item_no) as name, p.parents
      from tasker_step s join tasker_template p on p.definition_id = v_definition_id and p.step_no = coalesce(s.map_no, s.step_no)
     where s.task_no = v_task_no
  ),
  blocked (step_no, failed_no) as (
    select c.step_no, s.step_no from step s, unnest(s.children) as c (step_no) where s.state = 5
    union
    select c.step_no, b.failed_no
      from blocked b
     cross join lateral (select k.children from tasker_step k where k.task_no = v_task_no and k.step_no = b.step_no and k.state = 0 offset 0) s,
           unnest(s.children) as c (step_no)
  ),
  blocker as (
    select f.step_no, array_to_string(f.names[1:3], ', ') || case when cardinality(f.names) > 3 then ' and ' || cardinality(f.names) - 3 || ' more' else '' end as names
      from (select b.step_no, array_agg(f.name order by f.step_no) as names from blocked b join step f on f.step_no = b.failed_no group by 1) f
  ),
  parent as (
    select x.step_no, count(*) filter (where o.state in (4, 7, 8))::int as satisfied,
           (array_agg(o.name order by o.step_no) filter (where o.state not in (4, 7, 8)))[1:3] as open_names,
           count(*) filter (where o.state not in (4, 7, 8)) as open_count
      -- apart, or a plan may look through all steps for the parents of each
      from (select s.step_no, unnest(s.parents) as parent_no from step s offset 0) x join step o on o.step_no = x.parent_no group by 1
  ),
  item as (
    -- those that it waits for now; what it made before it was run again is on record, and no longer among them
    select m.step_no, count(*)::int as total, count(*) filter (where s.state in (4, 7, 8))::int as satisfied
      from step s join step m on m.step_no = s.map_no where s.step_no between m.first_item and m.first_item + m.item_count - 1 group by 1
  ),
  gate as materialized (   -- apart, or it may be asked of every step
    select s.step_no, tasker_gate_reason(v_task_no, s.step_no) as reason from step s where s.state = 1 and s.gated
  ),
  served as (
    select distinct unnest(w.definitions) as definition_id from tasker_worker w where w.lease_until > tasker_clock() and not w.draining
  )
  select tasker_step_id(v_task_no, s.step_no), s.name, tasker_state_name(s.state), cardinality(s.parents) + coalesce(item.total, 0), coalesce(parent.satisfied, 0) + coalesce(item.satisfied, 0),
         s.attempts, s.retry_limit, case when s.state = 3 then d.run_at end,
         case
           when s.state in (4, 5, 6, 7, 8) then ''
           when s.state = 0 and t.finished_at is not null then 'a retry of ' || coalesce(blocker.names, 'a failed step')
           when s.state = 0 and blocker.names is not null then 'blocked: ' || blocker.names || ' failed; retry, skip or resolve it'
           when s.state = 0 and d.run_at is not null then 'its start at ' || to_char(d.run_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC'
           when s.state = 0 and item.satisfied < item.total then item.total - item.satisfied || ' of its ' || item.total || ' items'
           when s.state = 0 and parent.open_names is null then 'tasker_resolve_dependencies: its parents were completed by hand'
           when s.state = 0 then array_to_string(parent.open_names, ', ')
             || case when parent.open_count > 3 then ' and ' || parent.open_count - 3 || ' more' else '' end
           when s.state = 3 then 'attempt ' || s.attempts + 1 || ' of ' || s.retry_limit || ' at '
             || to_char(d.run_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC'
           when s.state = 1 and t.paused then 'the task to be resumed: it is paused'
           when s.state = 1 and gate.reason is not null then gate.reason
           when s.state = 1 and served.definition_id is null then 'an engine that has its handler; none is running now'
           when s.state = 1 then 'a free place in an engine'
           when s.cancel_requested then 'its handler to stop: cancellation was requested'
           else 'its handler, attempt ' || s.attempts || ' of ' || s.retry_limit
         end
    from step s
    join tasker_task t on t.task_no = v_task_no
    left join parent on parent.step_no = s.step_no
    left join item on item.step_no = s.step_no
    left join blocker on blocker.step_no = s.step_no
    left join tasker_delayed d on d.task_no = v_task_no and d.step_no = s.step_no
    left join served on served.definition_id = s.definition_id
    left join gate on gate.step_no = s.step_no
   order by s.step_no;
end
$$;
