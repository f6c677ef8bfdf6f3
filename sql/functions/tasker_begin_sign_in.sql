-- tasker_begin_sign_in: a try to sign in is counted before anything is compared, so that a thousand at once are no way around the count.
--   returns its number, or null when it must not be evaluated: there were too many that failed within 15 minutes
--   locks   the count, for the length of this transaction
--   counted 5 of this name from this address since it last signed in from there; and where it has not signed in for a month,
--           10 of any name from this address, and 10 of this name from such addresses. So nobody locks out an owner at a known place.
create or replace function tasker_begin_sign_in (p_name text, p_address text)
  returns bigint
  language plpgsql
as $$
declare
  v_since timestamptz := tasker_clock() - interval '15 minutes';
  v_known timestamptz;
  v_sign_in_no bigint;
begin
  perform pg_advisory_xact_lock(hashtextextended('tasker sign in', 0));
  delete from tasker_sign_in s where s.at < tasker_clock() - interval '30 days';
  select max(s.at) into v_known from tasker_sign_in s where s.name = p_name and s.address = p_address and s.outcome = 'done';
  if (select count(*) from tasker_sign_in s
       where s.name = p_name and s.address = p_address and s.outcome = 'failed' and s.at > greatest(v_since, v_known)) >= 5 then
    return null;
  end if;
  if v_known is null and (
    (select count(*) from tasker_sign_in s where s.address = p_address and s.outcome = 'failed' and s.at > v_since) >= 10
    or (select count(*) from tasker_sign_in s
         where s.name = p_name and s.outcome = 'failed' and s.at > v_since
           and not exists (select from tasker_sign_in k where k.name = s.name and k.address = s.address and k.outcome = 'done')) >= 10) then
    return null;
  end if;
  insert into tasker_sign_in (name, address, at, outcome) values (p_name, p_address, tasker_clock(), 'failed') returning sign_in_no into v_sign_in_no;
  return v_sign_in_no;
end
$$;
