-- tasker_tell_follower: who followed a task that has ended is to be told, or has no right to it any more; either way it is followed no longer.
--   p_facts  null: nothing is told
--   moves, events  none     locks  the follower, so that of two engines one tells
create or replace function tasker_tell_follower (p_follower_id bigint, p_facts jsonb)
  returns void
  language plpgsql
as $$
begin
  with told as (
    delete from tasker_follower f where f.follower_id = p_follower_id returning f.task_no, f.channel, f.target
  )
  insert into tasker_notice (task_no, channel, target, facts, created_at, due_at)
  select told.task_no, told.channel, told.target, p_facts, tasker_clock(), tasker_clock() from told where p_facts is not null;
end
$$;
