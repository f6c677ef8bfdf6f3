-- tasker_limit_key: which line a task of this context stands in, the value at the path as text; a context that has none there stands with its like.
create or replace function tasker_limit_key (p_context jsonb, p_path text[])
  returns text
  language sql
  immutable
as $$
  select case when p_path = '{}' then '' when length(x.value) > 200 then md5(x.value) else coalesce(x.value, '') end
    from (select p_context #>> p_path as value) x
$$;
