-- tasker_revoke_token: a token counts for nothing any more.
--   raises WF001 unknown, or not of the account that is named     audit tasker.account:update
create or replace function tasker_revoke_token (p_token_id text, p_account_id int, p_actor text, p_address text)
  returns void
  language plpgsql
as $$
begin
  update tasker_token t set revoked_at = coalesce(t.revoked_at, tasker_clock())
   where t.token_id = p_token_id and (p_account_id is null or t.account_id = p_account_id);
  if not found then
    raise exception 'there is no token %', p_token_id using errcode = 'WF001';
  end if;
  perform tasker_audit_note(p_actor, 'tasker.account:update', 'done', null, 'token ' || p_token_id, null, p_address, '{"changed": "revoked"}');
end
$$;
