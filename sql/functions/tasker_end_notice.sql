-- tasker_end_notice: what came of an attempt to tell: it was taken, or why not; after p_most attempts, or when it can never be taken, it is given up.
--   p_error  null: it was taken     p_is_final  no further attempt would help
--   moves, events  none     locks  the notice
create or replace function tasker_end_notice (p_notice_id bigint, p_attempt int, p_error text, p_is_final boolean, p_most int)
  returns void
  language plpgsql
as $$
begin
  update tasker_notice n
     set delivered_at = case when p_error is null then tasker_clock() end, error = p_error,
         given_up_at = case when p_error is not null and (p_is_final or n.attempts >= p_most) then tasker_clock() end
   where n.notice_id = p_notice_id and n.attempts = p_attempt and n.delivered_at is null and n.given_up_at is null;
end
$$;
