-- tasker_keep_view: a list is kept under a name, or what is kept under that number is changed.
--   p_view_id  null: a new one     p_secret  null: as it was; empty: none     p_link  null: as it was
--   p_kind  of what a new one is a list; it stays that
--   moves, events  none     locks  the view     raises  WF001 unknown view, WF002 when another one there has that name
create or replace function tasker_keep_view (
  p_view_id bigint, p_name text, p_namespace text, p_owner int, p_parameters jsonb,
  p_threshold int, p_rest interval, p_webhook text, p_secret text, p_email text, p_link text, p_kind text default 'tasks'
)
  returns bigint
  language plpgsql
as $$
declare
  v_view_id bigint := p_view_id;
begin
  if v_view_id is null then
    insert into tasker_view (name, namespace, owner_id, parameters, changed_at, threshold, rest, webhook, secret, email, link, kind)
    values (p_name, p_namespace, p_owner, p_parameters, tasker_clock(), p_threshold, p_rest, p_webhook, nullif(p_secret, ''), p_email, p_link, p_kind)
    returning view_id into v_view_id;
    return v_view_id;
  end if;
  -- counted anew at once; what is told of an alert that was raised is told to whom it was raised
  update tasker_view v
     set name = p_name, namespace = p_namespace, owner_id = p_owner, parameters = p_parameters, changed_at = tasker_clock(), threshold = p_threshold,
         rest = p_rest, webhook = p_webhook, secret = case when p_secret is null then v.secret else nullif(p_secret, '') end, email = p_email, link = coalesce(p_link, v.link),
         counted_at = null, over_since = case when p_threshold is not null then v.over_since end
   where v.view_id = v_view_id;
  if not found then
    raise exception 'there is no view %', v_view_id using errcode = 'WF001';
  end if;
  return v_view_id;
exception when unique_violation then
  raise exception 'there is a view of that name already' using errcode = 'WF002';
end
$$;
