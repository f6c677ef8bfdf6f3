-- tasker_searchable: what of a task's context may be found by its words: nothing where the schema marks a secret, else all but what goes by the name of one.
--   p_names  how those names end     changes nothing
create or replace function tasker_searchable (p_context jsonb, p_definition_id int, p_names text[])
  returns jsonb
  language plpgsql
  stable parallel safe
as $$
begin
  if (select d.schema::text from tasker_definition d where d.definition_id = p_definition_id) ~ '"(writeOnly|x-sensitive)"\s*:\s*true|"format"\s*:\s*"password"' then
    return '{}';
  end if;
  return coalesce(tasker_without_secrets(p_context, p_names), '{}');
end
$$;
