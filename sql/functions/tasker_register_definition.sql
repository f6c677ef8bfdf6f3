-- tasker_register_definition: makes a task definition known; the same content again changes nothing but descriptions, which are no part of it.
--   p_definition  {"namespace", "name", "version", "description", "schema", "fingerprint", "content", "steps": [...]}, steps in topological order;
--                 "schema_text" in place of "schema" keeps the order of its properties, which jsonb does not;
--                 "content" is what the fingerprint is made of
--   moves  none. Content under a used version is immutable; content that no task has used yet is replaced, under a new definition_id
--   locks  the definition     raises WF004 when another content is already in use under this version
create or replace function tasker_register_definition (p_definition jsonb)
  returns int
  language plpgsql
as $$
declare
  v_id int;
  v_fingerprint text;
  v_used boolean;
  v_schema json := coalesce((p_definition ->> 'schema_text')::json, nullif(p_definition -> 'schema', 'null')::json);
begin
  insert into tasker_namespace (namespace, description)
  values (p_definition ->> 'namespace', coalesce(p_definition ->> 'namespace_description', ''))
  on conflict (namespace) do update set description = excluded.description
    where excluded.description <> '' and tasker_namespace.description <> excluded.description;

  loop
    select d.definition_id, d.fingerprint, d.used into v_id, v_fingerprint, v_used
      from tasker_definition d
     where d.namespace = p_definition ->> 'namespace' and d.name = p_definition ->> 'name' and d.version = p_definition ->> 'version'
       for update;
    if not found then
      insert into tasker_definition as d
        (namespace, name, version, version_rank, prerelease, description, schema, fingerprint, content, step_count, created_at)
      values
        (p_definition ->> 'namespace', p_definition ->> 'name', p_definition ->> 'version', tasker_version_rank(p_definition ->> 'version'),
         position('-' in p_definition ->> 'version') > 0, coalesce(p_definition ->> 'description', ''), v_schema, p_definition ->> 'fingerprint',
         coalesce(p_definition -> 'content', '{}'), jsonb_array_length(p_definition -> 'steps'), tasker_clock())
      on conflict (namespace, name, version) do nothing
      returning d.definition_id into v_id;
      exit when found;
      continue;   -- another has registered it in this moment, or replaced it: neither is seen before the next statement
    end if;
    if v_fingerprint = p_definition ->> 'fingerprint' then
      update tasker_definition d set description = coalesce(p_definition ->> 'description', '')
       where d.definition_id = v_id and d.description <> coalesce(p_definition ->> 'description', '');
      update tasker_template p set description = coalesce(step.value ->> 'description', '')
        from jsonb_array_elements(p_definition -> 'steps') with ordinality as step (value, place)
       where p.definition_id = v_id and p.step_no = step.place - 1 and p.description <> coalesce(step.value ->> 'description', '');
      perform tasker_hide_keys(p_definition);
      return v_id;
    end if;
    if v_used then
      raise exception '%/%@% is in use with other content', p_definition ->> 'namespace', p_definition ->> 'name', p_definition ->> 'version'
        using errcode = 'WF004', hint = 'give the changed workflow a new version';
    end if;
    delete from tasker_definition d where d.definition_id = v_id;   -- its number goes too: whoever remembers content by it never meets other content
  end loop;

  insert into tasker_template
    (definition_id, step_no, name, description, handler, parents, children, retryable, retry_limit, timeout_ms,
     backoff_base, backoff_multiplier, backoff_cap, backoff_jitter, output_schema, handler_config, decision, for_each, for_each_path,
     labels, gated, resources)
  select v_id, step.place - 1, step.value ->> 'name', coalesce(step.value ->> 'description', ''), step.value ->> 'handler',
         array(select jsonb_array_elements_text(step.value -> 'parents')::int order by 1),
         array(select jsonb_array_elements_text(step.value -> 'children')::int order by 1),
         (step.value ->> 'retryable')::boolean, (step.value ->> 'retry_limit')::int, (step.value ->> 'timeout_ms')::bigint,
         (step.value #>> '{backoff,base}')::float8, (step.value #>> '{backoff,multiplier}')::float8,
         (step.value #>> '{backoff,cap}')::float8, (step.value #>> '{backoff,jitter}')::float8,
         nullif(step.value -> 'output_schema', 'null'), nullif(step.value -> 'handler_config', 'null'),
         coalesce((step.value ->> 'decision')::boolean, false), (step.value #>> '{for_each,step}')::int,
         array(select jsonb_array_elements_text(step.value #> '{for_each,path}')),
         array(select jsonb_array_elements_text(step.value -> 'needs') order by 1),
         step.value ? 'needs' or step.value ? 'limit' or p_definition ? 'limit' and step.value -> 'parents' = '[]',
         coalesce(step.value -> 'resources', '{}')
    from jsonb_array_elements(p_definition -> 'steps') with ordinality as step (value, place);
  insert into tasker_lane (definition_id, labels)
  select distinct v_id, p.labels from tasker_template p where p.definition_id = v_id and p.labels <> '{}'
  on conflict (definition_id, labels) do nothing;
  perform tasker_declare_limits(p_definition);
  perform tasker_hide_keys(p_definition);
  return v_id;
end
$$;
