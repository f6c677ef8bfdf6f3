-- tasker_audit_note: who did what, when, from where, to which object and why is on record for good.
create or replace function tasker_audit_note (
  p_actor text, p_action text, p_outcome text, p_namespace text, p_object text, p_reason text, p_address text, p_detail jsonb default null
)
  returns void
  language sql
as $$
  insert into tasker_audit (at, actor, action, outcome, namespace, object, reason, address, detail)
  values (tasker_clock(), p_actor, p_action, p_outcome, p_namespace, p_object, p_reason, p_address, p_detail)
$$;
