-- tasker_end_sessions: an account is signed out everywhere, but for the session that is named to stay.
create or replace function tasker_end_sessions (p_account_id int, p_but_hash bytea default null)
  returns void
  language sql
as $$
  delete from tasker_session s where s.account_id = p_account_id and s.session_hash is distinct from p_but_hash;
  delete from tasker_sign_in_link l where l.account_id = p_account_id
$$;
