-- tasker_words: the words by which a task can be found. Of a context of more than 64 KiB, those of its beginning.
create or replace function tasker_words (p_context jsonb, p_tags text[], p_others text[])
  returns tsvector
  language sql immutable parallel safe
as $$
  select case when octet_length(p_context::text) <= 65536 then jsonb_to_tsvector('simple', p_context, '["string", "numeric"]')
              else to_tsvector('simple', left(p_context::text, 65536)) end
         || to_tsvector('simple', left(array_to_string(p_tags || p_others, ' '), 65536))
$$;
