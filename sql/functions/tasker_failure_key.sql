-- tasker_failure_key: the name of a group of failures: those of one step of one workflow, in all its versions, whose errors have one signature.
--   changes nothing
create or replace function tasker_failure_key (p_namespace text, p_name text, p_step_name text, p_signature text)
  returns text
  language sql
  immutable parallel safe
as $$
  select md5(p_namespace || E'\n' || p_name || E'\n' || p_step_name || E'\n' || p_signature)
$$;
