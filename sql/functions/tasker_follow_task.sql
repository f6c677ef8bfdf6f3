-- tasker_follow_task: an account is told of the task's end; asked for twice, it is told once.
--   moves, events  none     raises  WF001 unknown task, WF002 when it has ended
create or replace function tasker_follow_task (p_task_id uuid, p_account_id int, p_channel text, p_target text, p_link text)
  returns void
  language plpgsql
as $$
declare
  v_task_no bigint := tasker_task_no(p_task_id);
begin
  if exists (select from tasker_task t where t.task_no = v_task_no and t.finished_at is not null) then
    raise exception 'the task has ended' using errcode = 'WF002';
  end if;
  insert into tasker_follower (task_no, account_id, channel, target, link, since)
  values (v_task_no, p_account_id, p_channel, p_target, p_link, tasker_clock())
  on conflict (task_no, account_id, channel, target) do nothing;
end
$$;
