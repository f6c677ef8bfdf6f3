-- tasker_sign_out: an account is signed out everywhere, but for the session that is named to stay; returns how many sessions that were.
--   audit sign_out, once
create or replace function tasker_sign_out (p_name text, p_but_hash bytea, p_actor text, p_reason text, p_address text)
  returns int
  language plpgsql
as $$
declare
  v_account_id int := tasker_account_no(p_name);
  v_count int := (select count(*) from tasker_session s where s.account_id = v_account_id and not s.half and s.session_hash is distinct from p_but_hash);
begin
  perform tasker_end_sessions(v_account_id, p_but_hash);
  perform tasker_audit_note(p_actor, 'sign_out', 'done', null, 'account ' || p_name, p_reason, p_address, jsonb_build_object('sessions', v_count));
  return v_count;
end
$$;
