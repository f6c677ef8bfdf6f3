-- tasker_take_notices: notices whose time has come, one attempt each; should its engine die, the next attempt comes after the rest that is set here.
--   Rests 10 s after the first attempt, twice as long after each further one, an hour at most. One of a view waits for the earlier ones to the same place.
--   moves, events  none     locks  the notices
create or replace function tasker_take_notices (p_limit int)
  returns table (notice_id bigint, attempt int, channel text, target text, secret text, facts jsonb)
  language plpgsql
as $$
begin
  return query
  with due as (
    select n.notice_id from tasker_notice n
     where n.delivered_at is null and n.given_up_at is null and n.due_at <= tasker_clock()
       and not exists (select from tasker_notice e
                        where e.view_id = n.view_id and e.notice_id < n.notice_id and e.channel = n.channel and e.target = n.target
                          and e.delivered_at is null and e.given_up_at is null)
     order by n.due_at limit p_limit for update skip locked
  )
  update tasker_notice n
     set attempts = n.attempts + 1, due_at = tasker_clock() + least(interval '10 seconds' * 2 ^ least(n.attempts, 20), interval '1 hour')
    from due where n.notice_id = due.notice_id
  returning n.notice_id, n.attempts, n.channel, n.target, n.secret, n.facts;
end
$$;
