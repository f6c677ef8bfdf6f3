-- tasker_without_secrets: a JSON value without what stands under names of secrets, at any depth.
--   changes nothing
create or replace function tasker_without_secrets (p_value jsonb)
  returns jsonb
  language plpgsql
  immutable parallel safe
as $$
begin
  if p_value::text !~* '(password|passwd|secret|token|api[_-]?key|authorization)":' then
    return p_value;
  end if;
  return case jsonb_typeof(p_value)
    when 'object' then
      (select jsonb_object_agg(e.key, tasker_without_secrets(e.value)) from jsonb_each(p_value) e
        where e.key !~* '(password|passwd|secret|token|api[_-]?key|authorization)$')
    when 'array' then
      (select jsonb_agg(tasker_without_secrets(e.value)) from jsonb_array_elements(p_value) e)
    else p_value
  end;
end
$$;
