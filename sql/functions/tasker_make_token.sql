-- tasker_make_token: a program may act as an account, within scopes and a namespace, until the token expires.
--   raises WF001 unknown account     audit tasker.account:update
create or replace function tasker_make_token (
  p_token_id text, p_secret_hash bytea, p_name text, p_label text, p_scopes text[], p_namespace text, p_life interval, p_actor text, p_address text
)
  returns timestamptz
  language plpgsql
as $$
declare
  v_expires_at timestamptz := tasker_clock() + p_life;
begin
  insert into tasker_token (token_id, secret_hash, account_id, label, scopes, namespace, created_at, created_by, expires_at)
  values (p_token_id, p_secret_hash, tasker_account_no(p_name), p_label, p_scopes, p_namespace, tasker_clock(), p_actor, v_expires_at);
  perform tasker_audit_note(p_actor, 'tasker.account:update', 'done', p_namespace, 'token ' || p_token_id, null, p_address,
                            jsonb_build_object('made', p_label, 'account', p_name, 'scopes', p_scopes));
  return v_expires_at;
end
$$;
