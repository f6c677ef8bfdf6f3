-- tasker_retention_begin: what ended before this moment is older than the namespace of the definition keeps it.
-- needs: tasker_clock, tasker_retentions
--   returns null when tasks are kept for ever
create or replace function tasker_retention_begin (p_definition int)
  returns timestamptz
  language sql stable
as $$
  select tasker_clock() - r.retention
    from tasker_definition d join tasker_retentions r using (namespace)
   where d.definition_id = p_definition
$$;
