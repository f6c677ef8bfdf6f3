-- tasker_act: an operator's action by its name, and only if it does what a preview has shown.
--   p_action     retry, cancel, pause, resume of a task; retry, retry_downstream, cancel, skip, resolve of the step p_step_name
--   p_given      the result for resolve, the new context for retry_downstream or null
--   p_seen       what tasker_preview said to it; null asks for nothing
--   moves, events  those of the function of that name, whose answer it returns: the state of the step or of the task
--   locks        as that function
--   raises       what that function raises; WF006 when it would do something else than was seen, 22023 when there is no such action; then nothing has changed
create or replace function tasker_act (p_task_id uuid, p_action text, p_step_name text, p_given jsonb, p_actor text, p_reason text, p_seen text default null)
  returns text
  language plpgsql
as $$
declare
  v_task_no bigint := tasker_task_no(p_task_id);
  v_before tasker_standing[];
  v_state text;
begin
  -- taken before the action holds anything: what moves in between shows as a difference that was not seen
  v_before := case when p_seen is not null then tasker_stand(v_task_no) end;
  v_state := case
    when p_step_name is null then
      case p_action
        when 'retry' then tasker_retry_task(p_task_id, p_actor, p_reason)
        when 'cancel' then tasker_cancel_task(p_task_id, p_actor, p_reason)
        when 'pause' then tasker_pause_task(p_task_id, p_actor, p_reason)
        when 'resume' then tasker_resume_task(p_task_id, p_actor, p_reason)
      end
    else
      case p_action
        when 'retry' then tasker_retry_step(p_task_id, p_step_name, p_actor, p_reason)
        when 'retry_downstream' then tasker_retry_downstream(p_task_id, p_step_name, p_given, p_actor, p_reason)
        when 'cancel' then tasker_cancel_step(p_task_id, p_step_name, p_actor, p_reason)
        when 'skip' then tasker_skip_step(p_task_id, p_step_name, p_actor, p_reason)
        when 'resolve' then tasker_resolve_step(p_task_id, p_step_name, p_given, p_actor, p_reason)
      end
    end;
  if v_state is null then
    raise exception 'there is no action "%" on a %', p_action, case when p_step_name is null then 'task' else 'step' end using errcode = '22023';
  end if;
  if v_before is not null and tasker_seen(v_before, tasker_stand(v_task_no)) <> p_seen then
    raise exception 'the task has changed since you looked' using errcode = 'WF006';
  end if;
  return v_state;
end
$$;
