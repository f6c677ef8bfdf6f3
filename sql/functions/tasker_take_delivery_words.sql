-- tasker_take_delivery_words: what the handlers of a sender's deliveries have said since, in its order.
create or replace function tasker_take_delivery_words (p_sender uuid)
  returns table (number bigint, age float8, is_line boolean, fields jsonb)
  language sql
as $$
  with taken as (
    delete from tasker_delivery_word d where d.sender = p_sender returning d.word_no, d.number, d.said_at, d.is_line, d.fields
  )
  select t.number, extract(epoch from tasker_clock() - t.said_at)::float8, t.is_line, t.fields from taken t order by t.word_no
$$;
