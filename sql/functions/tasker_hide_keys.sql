-- tasker_hide_keys: the keys of limits that a definition calls secret are masked from now on, be they so by its schema or by a name that was added to the settings.
--   p_definition  as tasker_declare_limits takes it     moves  none     locks  the limits that change     raises none     events none
create or replace function tasker_hide_keys (p_definition jsonb)
  returns void
  language sql
as $$
  update tasker_limit l set key_is_secret = true
    from (select '' as step_name, p_definition -> 'limit' as value
          union all
          select s.value ->> 'name', s.value -> 'limit' from jsonb_array_elements(p_definition -> 'steps') as s (value)) x
   where (x.value ->> 'secret')::boolean and not l.key_is_secret and l.key_path = array(select jsonb_array_elements_text(x.value -> 'key'))
     and l.namespace = p_definition ->> 'namespace' and l.name = p_definition ->> 'name' and l.step_name = x.step_name
$$;
