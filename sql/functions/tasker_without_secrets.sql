-- tasker_without_secrets: a JSON value without what stands under names of secrets, at any depth.
--   p_names  how such names end, each a regular expression: engine.hiding.masking has them     changes nothing
create or replace function tasker_without_secrets (p_value jsonb, p_names text[])
  returns jsonb
  language plpgsql
  immutable parallel safe
as $$
begin
  if p_value::text !~* ('(' || array_to_string(p_names, '|') || ')":') then
    return p_value;
  end if;
  return case jsonb_typeof(p_value)
    when 'object' then
      (select jsonb_object_agg(e.key, tasker_without_secrets(e.value, p_names)) from jsonb_each(p_value) e
        where e.key !~* ('(' || array_to_string(p_names, '|') || ')$'))
    when 'array' then
      (select jsonb_agg(tasker_without_secrets(e.value, p_names)) from jsonb_array_elements(p_value) e)
    else p_value
  end;
end
$$;
