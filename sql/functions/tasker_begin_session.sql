-- tasker_begin_session: an account is signed in under a new secret, of which only the hash is known here; sessions that ran out go.
--   A whole session takes the place of the account's half ones, whose secrets are void then.
--   p_password_hash  what the password was compared with, where one was     p_half_hash  the half session that this one completes, where there is one
--   locks  the account     raises WF002 when the account is disabled, the password is another one by now, or the half session is over
create or replace function tasker_begin_session (
  p_account_id int, p_hash bytea, p_method text, p_half boolean, p_address text, p_browser text, p_password_hash text default null, p_half_hash bytea default null
)
  returns void
  language plpgsql
as $$
declare
  v_account tasker_account;
begin
  select * into v_account from tasker_account a where a.account_id = p_account_id and not a.disabled for no key update;
  if not found then
    raise exception 'this account is disabled' using errcode = 'WF002';
  end if;
  if p_password_hash is not null and v_account.password_hash is distinct from p_password_hash then
    raise exception 'the password was changed meanwhile; sign in again' using errcode = 'WF002';
  end if;
  delete from tasker_session s where s.session_hash = p_half_hash and s.account_id = p_account_id and s.half;
  if p_half_hash is not null and not found then
    raise exception 'this sign-in was ended meanwhile; sign in again' using errcode = 'WF002';
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
