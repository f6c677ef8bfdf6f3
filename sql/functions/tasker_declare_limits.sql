-- tasker_declare_limits: the limits that a definition declares are in force, and those that it leaves out are not, unless an operator has set others.
--   p_definition  as tasker_register_definition takes it; a limit is {"at_once", "per_period", "period" in seconds, "key": [path in the context], "secret" key}
--   A limit is on the workflow of that name, whatever the version: what was registered last is what counts. Of a step that this version does not have
--   it says nothing: for tasks of older versions the limit on that holds.
--   locks  the limits, then their lines in order
create or replace function tasker_declare_limits (p_definition jsonb)
  returns void
  language plpgsql
as $$
begin
  insert into tasker_limit as l (namespace, name, step_name, key_path, at_once, per_period, period, declared)
  select p_definition ->> 'namespace', p_definition ->> 'name', x.step_name, array(select jsonb_array_elements_text(x.value -> 'key')),
         (x.value ->> 'at_once')::int, (x.value ->> 'per_period')::int, make_interval(secs => coalesce((x.value ->> 'period')::float8, 1)), x.value - 'secret'
    from (select '' as step_name, p_definition -> 'limit' as value
          union all
          select s.value ->> 'name', s.value -> 'limit' from jsonb_array_elements(p_definition -> 'steps') as s (value)) x
   where jsonb_typeof(x.value) = 'object'
   order by x.step_name
  on conflict (namespace, name, step_name) do update
    set declared = excluded.declared, key_path = excluded.key_path, period = excluded.period,
        key_is_secret = l.key_is_secret and l.key_path = excluded.key_path,
        at_once = case when l.changed_at is null then excluded.at_once else l.at_once end,
        per_period = case when l.changed_at is null then excluded.per_period else l.per_period end;

  update tasker_limit l
     set declared = '{}', at_once = case when l.changed_at is not null then l.at_once end, per_period = case when l.changed_at is not null then l.per_period end
    from (select '' as step_name, p_definition -> 'limit' as value
          union all
          select s.value ->> 'name', s.value -> 'limit' from jsonb_array_elements(p_definition -> 'steps') as s (value)) x
   where l.namespace = p_definition ->> 'namespace' and l.name = p_definition ->> 'name' and l.step_name = x.step_name
     and jsonb_typeof(x.value) is distinct from 'object' and l.declared <> '{}';

  -- where it allows more than before, nobody gives a place back
  perform tasker_look_again(l.limit_id)
    from (select k.limit_id from tasker_limit k
           where k.namespace = p_definition ->> 'namespace' and k.name = p_definition ->> 'name' order by k.limit_id) l;
end
$$;
