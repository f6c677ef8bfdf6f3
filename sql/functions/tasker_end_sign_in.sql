-- tasker_end_sign_in: what became of a try: failed, half (the second factor is still to come) or done. The first two of these speak of a password.
--   audit sign_in, but for a half one
create or replace function tasker_end_sign_in (p_sign_in_no bigint, p_outcome text, p_actor text, p_method text)
  returns void
  language plpgsql
as $$
declare
  v_address text;
begin
  update tasker_sign_in s set outcome = p_outcome where s.sign_in_no = p_sign_in_no returning s.address into v_address;
  if p_outcome <> 'half' then
    perform tasker_audit_note(p_actor, 'sign_in', case p_outcome when 'done' then 'done' else 'denied' end, null, 'account ' || p_actor, null, v_address,
                              jsonb_build_object('method', p_method));
  end if;
end
$$;
