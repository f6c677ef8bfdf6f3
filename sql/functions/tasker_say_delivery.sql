-- tasker_say_delivery: what the handlers of deliveries said, so many seconds ago; the sender takes it as if they were its own.
create or replace function tasker_say_delivery (p_tokens uuid[], p_are_lines boolean[], p_ages float8[], p_fields jsonb[])
  returns void
  language sql
as $$
  insert into tasker_delivery_word (sender, number, said_at, is_line, fields)
  select d.sender, d.number, tasker_clock() - make_interval(secs => said.age), said.is_line, said.fields
    from unnest(p_tokens, p_are_lines, p_ages, p_fields) with ordinality as said (token, is_line, age, fields, place)
    join tasker_delivery d on d.token = said.token and d.kind is null
   order by said.place
$$;
