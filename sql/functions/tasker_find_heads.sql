-- tasker_find_heads: where each lane of the queue begins now: its first step. Parked steps are in no lane.
--   A transaction that is open for long keeps the rows of all steps that left the queue since, and each look walks over them. So what a look over
--   more than c_far pages found is kept for this session, for twenty times as long as the look took (tasker_known_heads): it costs a twentieth then,
--   and a step that comes to stand before a head is taken that much later.
create or replace function tasker_find_heads ()
  returns tasker_head[]
  language plpgsql
as $$
declare
  c_far constant int := 64;
  v_began timestamptz := clock_timestamp();
  v_read bigint := pg_stat_get_xact_blocks_fetched('tasker_ready'::regclass);
  v_is_far boolean;
  v_took interval;
  v_lane int := 0;
  v_head tasker_head;
  v_heads tasker_head[] := '{}';
begin
  loop   -- from one lane that has steps to the next
    select r.definition_id, r.rank, r.ready_no into v_head from tasker_ready r where r.definition_id > v_lane order by r.definition_id, r.rank, r.ready_no limit 1;
    exit when not found;
    v_lane := v_head.lane;
    v_heads := v_heads || v_head;
  end loop;
  v_took := clock_timestamp() - v_began;
  v_is_far := pg_stat_get_xact_blocks_fetched('tasker_ready'::regclass) - v_read > c_far + cardinality(v_heads);
  perform set_config('tasker.heads', case when v_is_far then v_heads::text else '' end, false);
  perform set_config('tasker.heads_until', (clock_timestamp() + least(20 * v_took, interval '1 s'))::text, false);
  return v_heads;
end
$$;
