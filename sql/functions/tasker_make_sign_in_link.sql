-- tasker_make_sign_in_link: whoever has the secret of that hash may sign in as the account, once and within an hour; earlier links of it are gone.
--   locks  the account     raises WF001     audit tasker.account:update
create or replace function tasker_make_sign_in_link (p_name text, p_hash bytea, p_actor text, p_reason text, p_address text)
  returns void
  language plpgsql
as $$
declare
  v_account_id int := tasker_account_no(p_name);
begin
  delete from tasker_sign_in_link l where l.account_id = v_account_id;
  insert into tasker_sign_in_link (link_hash, account_id, expires_at) values (p_hash, v_account_id, tasker_clock() + interval '1 hour');
  perform tasker_audit_note(p_actor, 'tasker.account:update', 'done', null, 'account ' || p_name, p_reason, p_address, '{"changed": "sign-in link"}');
end
$$;
