-- tasker_use_token: the secret's hash of a token that counts, its account and grants; no row for one that is unknown, expired or revoked.
create or replace function tasker_use_token (p_token_id text)
  returns table (secret_hash bytea, account_id int, name text, scopes text[], namespace text, grants jsonb)
  language plpgsql
as $$
begin
  update tasker_token t set used_at = tasker_clock()
   where t.token_id = p_token_id and t.revoked_at is null and (t.used_at is null or t.used_at < tasker_clock() - interval '1 minute');
  return query
  select t.secret_hash, a.account_id, a.name, t.scopes, t.namespace, tasker_grants(a.account_id)
    from tasker_token t join tasker_account a using (account_id)
   where t.token_id = p_token_id and t.revoked_at is null and t.expires_at > tasker_clock() and not a.disabled;
end
$$;
