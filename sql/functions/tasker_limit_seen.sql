-- tasker_limit_seen: another text as soon as somebody has changed the limit, or a new version declares another.
create or replace function tasker_limit_seen (p_limit tasker_limit)
  returns text
  language sql
  stable
as $$
  select left(encode(sha256(convert_to(jsonb_build_array(p_limit.at_once, p_limit.per_period, extract(epoch from p_limit.period), p_limit.key_path,
                                                         extract(epoch from p_limit.changed_at))::text, 'UTF8')), 'hex'), 32)
$$;
