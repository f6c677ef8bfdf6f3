-- tasker_look_at_places: the places of one line are as what holds them: started when it has started, ended when it has, gone when they no longer count.
--   A step has its place from its admission to the end of that attempt; a pause of its task gives it back. A task has its place until it has ended.
--   locks  the places, which are changed only by who holds their line
create or replace function tasker_look_at_places (p_limit tasker_limit, p_key text)
  returns void
  language plpgsql
as $$
begin
  update tasker_place h
     set started_at = coalesce(h.started_at, now.started_at), ended = not now.holds
    from tasker_place_state(p_limit, p_key) now
   where h.limit_id = p_limit.limit_id and h.key = p_key and h.task_no = now.task_no and h.step_no = now.step_no and h.attempt = now.attempt
     and (h.ended = now.holds or h.started_at is null and now.started_at is not null);
  delete from tasker_place h
   where h.limit_id = p_limit.limit_id and h.key = p_key and h.ended
     and (p_limit.per_period is null or h.started_at is null or h.started_at + p_limit.period <= tasker_clock());
end
$$;
