-- tasker_words_query: what a text asks for: all its words, the last of them also as a beginning when it has three letters. Null where it has no word.
create or replace function tasker_words_query (p_text text)
  returns tsquery
  language sql immutable parallel safe
as $$
  select case when numnode(q.plain) = 0 then null when p_text ~ '[[:alnum:]]{3}$' then (q.plain::text || ':*')::tsquery else q.plain end
    from plainto_tsquery('simple', p_text) as q (plain)
$$;
