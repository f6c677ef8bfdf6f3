-- tasker_begin_session: an account is signed in under a new secret, of which only the hash is known here; sessions that ran out go.
--   A whole session takes the place of the account's half ones, whose secrets are void then.
--   raises WF002 when the account is disabled
create or replace function tasker_begin_session (p_account_id int, p_hash bytea, p_method text, p_half boolean, p_address text, p_browser text)
  returns void
  language plpgsql
as $$
begin
  perform from tasker_account a where a.account_id = p_account_id and not a.disabled for share;
  if not found then
    raise exception 'this account is disabled' using errcode = 'WF002';
  end if;
  delete from tasker_session s where s.started_at < tasker_clock() - interval '24 hours' or s.seen_at < tasker_clock() - interval '8 hours'
     or s.account_id = p_account_id and s.half and not p_half;
  insert into tasker_session (session_hash, account_id, method, half, started_at, seen_at, address, browser)
  values (p_hash, p_account_id, p_method, p_half, tasker_clock(), tasker_clock(), p_address, p_browser);
  if not p_half then
    update tasker_account a set signed_in_at = tasker_clock() where a.account_id = p_account_id;
  end if;
end
$$;
