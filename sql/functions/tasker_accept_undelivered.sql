-- tasker_accept_undelivered: a subscriber has taken an event after all that was laid aside; it is laid aside no more, and counts as delivered.
--   moves, events  none     locks  the subscription, then the event that was laid aside, as tasker_lay_aside_event does
--   returns false when it was not laid aside any more; then nothing is recorded
create or replace function tasker_accept_undelivered (p_name text, p_event_id bigint)
  returns boolean
  language plpgsql
as $$
begin
  perform from tasker_subscription s where s.name = p_name for update;
  delete from tasker_undelivered u where u.name = p_name and u.event_id = p_event_id;
  if not found then
    return false;
  end if;
  update tasker_subscription s set delivered_count = s.delivered_count + 1, delivered_at = tasker_clock() where s.name = p_name;
  return true;
end
$$;
