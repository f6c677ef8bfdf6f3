-- tasker_end_session: one session of an account is over, by its number; false when there was none.
--   audit sign_out
create or replace function tasker_end_session (p_account_id int, p_session_id int, p_actor text, p_address text)
  returns boolean
  language plpgsql
as $$
declare
  v_name text;
begin
  delete from tasker_session s using tasker_account a
   where a.account_id = p_account_id and s.account_id = a.account_id and s.session_id = p_session_id returning a.name into v_name;
  if v_name is null then
    return false;
  end if;
  perform tasker_audit_note(p_actor, 'sign_out', 'done', null, 'account ' || v_name, null, p_address);
  return true;
end
$$;
