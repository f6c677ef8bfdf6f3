-- tasker_note_count: how many tasks, or groups of failures, a view holds now is on record, and told where that crosses its threshold: once upwards, once back.
--   p_count     null: unknown, and nothing is told
--   p_is_least  older ones were not looked through: there may be more, which is told with it
--   An alert within the rest after the last one waits, and is told if it still holds by then.
--   moves, events  none     locks  the view
create or replace function tasker_note_count (p_view_id bigint, p_count int, p_is_least boolean default false)
  returns text
  language plpgsql
as $$
declare
  v_view tasker_view;
  v_news text;
begin
  select v.* into v_view from tasker_view v where v.view_id = p_view_id for update;
  if not found then
    return null;
  end if;
  v_news := case
    when v_view.threshold is null or p_count is null then null
    when p_count <= v_view.threshold and v_view.over_since is not null then 'view.resolved'
    when p_count > v_view.threshold and v_view.over_since is null and coalesce(v_view.alerted_at, '-infinity') <= tasker_clock() - v_view.rest then 'view.alert'
  end;
  update tasker_view v
     set count = p_count, is_least = p_is_least,
         over_since = case v_news when 'view.alert' then tasker_clock() when 'view.resolved' then null else v.over_since end,
         alerted_at = case v_news when 'view.alert' then tasker_clock() else v.alerted_at end
   where v.view_id = p_view_id;
  insert into tasker_notice (view_id, channel, target, secret, facts, created_at, due_at)
  select p_view_id, told.channel, told.target, case told.channel when 'webhook' then v_view.secret end,
         jsonb_build_object('type', v_news, 'view_id', p_view_id, 'view', v_view.name, 'kind', v_view.kind, 'namespace', v_view.namespace, 'filter', v_view.parameters, 'count', p_count, 'is_least', p_is_least,
                            'threshold', v_view.threshold, 'at', to_char(tasker_clock() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'link', v_view.link),
         tasker_clock(), tasker_clock()
    from (values ('webhook', v_view.webhook), ('email', v_view.email)) as told (channel, target)
   where v_news is not null and told.target is not null;
  return v_news;
end
$$;
