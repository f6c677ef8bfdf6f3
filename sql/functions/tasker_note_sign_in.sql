-- tasker_note_sign_in: somebody signed in for whom another method vouched; the place is known from now on.
--   raises  WF001     audit sign_in
create or replace function tasker_note_sign_in (p_account_id int, p_address text, p_method text)
  returns void
  language plpgsql
as $$
declare
  v_name text := (select a.name from tasker_account a where a.account_id = p_account_id);
begin
  if v_name is null then
    raise exception 'there is no such account' using errcode = 'WF001';
  end if;
  insert into tasker_sign_in (name, address, at, outcome) values (lower(v_name), p_address, tasker_clock(), 'done');
  perform tasker_audit_note(v_name, 'sign_in', 'done', null, 'account ' || v_name, null, p_address, jsonb_build_object('method', p_method));
end
$$;
