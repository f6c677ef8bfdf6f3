-- tasker_task_record: all that is kept about a task, as the JSON of one line of an archive; states in words, columns as the tables name them.
-- needs: tasker_state_name, tasker_level_name, tasker_step_name
--   Whole rows, so that no column that comes later is forgotten. Nothing is masked. The id comes first: by it a line is found without being read.
create or replace function tasker_task_record (p_task_no bigint)
  returns text
  language sql stable
  set enable_seqscan = off   -- plans must not depend on statistics
as $$
  select json_build_object(
           'task_id', t.task_id,
           'namespace', d.namespace, 'name', d.name, 'version', d.version, 'state', tasker_state_name(t.state), 'finished_at', t.finished_at,
           'task', to_jsonb(t) - 'state',
           'idempotency_key', (select k.key from tasker_request_key k where k.task_id = t.task_id),
           'steps', (select coalesce(json_agg(to_jsonb(s) - 'state' - 'task_no' || jsonb_build_object('name', tasker_step_name(p.name, s.item_no), 'state', tasker_state_name(s.state))
                                              order by s.step_no), '[]')
                       from tasker_step s join tasker_template p on p.definition_id = s.definition_id and p.step_no = coalesce(s.map_no, s.step_no)
                      where s.task_no = t.task_no),
           'history', (select coalesce(json_agg(to_jsonb(h) - 'task_no' || jsonb_build_object('from_state', tasker_state_name(h.from_state), 'to_state', tasker_state_name(h.to_state))
                                                order by h.event_id), '[]')
                         from tasker_history h where h.task_no = t.task_no),
           'log', (select coalesce(json_agg(to_jsonb(l) - 'task_no' || jsonb_build_object('level', tasker_level_name(l.level)) order by l.line_no), '[]')
                     from tasker_log l where l.task_no = t.task_no),
           'progress', (select coalesce(json_agg(to_jsonb(g) - 'task_no' order by g.step_no), '[]') from tasker_progress g where g.task_no = t.task_no),
           'events', (select coalesce(json_agg(to_jsonb(c) - 'task_no' order by c.event_no), '[]') from tasker_custom_event c where c.task_no = t.task_no),
           'undelivered', (select coalesce(json_agg(to_jsonb(u) order by u.name, u.event_id), '[]') from tasker_undelivered u where u.event ->> 'task_id' = t.task_id::text))::text
    from tasker_task t
    join tasker_definition d using (definition_id)
   where t.task_no = p_task_no
$$;
