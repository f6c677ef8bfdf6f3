-- tasker_use_session: who is signed in under that hash now, and with which grants; no row when nobody is.
--   A session is over 8 hours after it was last used, 24 hours after it began, and a half one after 10 minutes.
create or replace function tasker_use_session (p_hash bytea)
  returns table (account_id int, name text, method text, half boolean, grants jsonb, zone text)
  language plpgsql
as $$
begin
  update tasker_session s set seen_at = tasker_clock() where s.session_hash = p_hash and s.seen_at between tasker_clock() - interval '8 hours' and tasker_clock() - interval '1 minute';
  return query
  select a.account_id, a.name, s.method, s.half, tasker_grants(a.account_id), a.zone
    from tasker_session s join tasker_account a using (account_id)
   where s.session_hash = p_hash and not a.disabled
     and s.seen_at > tasker_clock() - interval '8 hours'
     and s.started_at > tasker_clock() - case when s.half then interval '10 minutes' else interval '24 hours' end;
end
$$;
