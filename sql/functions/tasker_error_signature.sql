-- tasker_error_signature: what errors of one kind have in common: the type and the first line of the message, with numbers and ids left out.
--   changes nothing
create or replace function tasker_error_signature (p_error jsonb)
  returns text
  language sql
  immutable parallel safe
as $$
  select left(coalesce(nullif(p_error ->> 'type', ''), 'Error') || ': ' || trim(
    regexp_replace(regexp_replace(regexp_replace(regexp_replace(
      left(split_part(coalesce(p_error ->> 'message', ''), E'\n', 1), 400),
      '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}', '#', 'gi'),
      '\m(0x[0-9a-f]+|(?=[a-f]*[0-9])[0-9a-f]{8,})\M', '#', 'gi'),
      '[0-9]+([.,:][0-9]+)*', '#', 'g'),
      '\s+', ' ', 'g')), 200)
$$;
